// What follows the network of a raw file (NAME_int8_raw.tflite, NAME_float16_raw.tflite): anchors, decoding and
// suppression, as edge/runtime.py does them. Plain Kotlin, without Android and without a library.

import kotlin.math.exp
import kotlin.math.floor
import kotlin.math.max
import kotlin.math.min
import kotlin.math.round
import kotlin.math.sqrt

/** The section `detector` of the .json beside the file. */
class Description(
    val height: Int,
    val width: Int,
    val classNames: List<String>,
    val levels: IntRange,
    val anchorSize: Double,
    val anchorScales: List<Double>,
    val anchorRatios: List<Double>,
    val coderWeights: List<Float>,
    val anchorOffset: Double = 0.5,
    val anchorWholePixels: Boolean = false,
    val anchorClip: Boolean = false,
)

/** `box` is y1, x1, y2, x2 in pixels of the network's input. */
class Detection(val label: String, val score: Float, val box: FloatArray)

/** Values of an 8-bit output; `unsigned` for uint8, which is what files have with `export.mediapipe_raw`. */
fun dequantize(stored: ByteArray, scale: Float, zeroPoint: Int, unsigned: Boolean): FloatArray =
    FloatArray(stored.size) { index ->
        val value = if (unsigned) stored[index].toInt() and 0xff else stored[index].toInt()
        (value - zeroPoint) * scale
    }

class Decoder(private val description: Description) {
    private val anchors = anchorBoxes(description)

    /** `logits` is the output `classes` `[A, K]`, `deltas` the output `boxes` `[A, 4]`, both as float. */
    fun detect(
        logits: FloatArray,
        deltas: FloatArray,
        leastScore: Float = 0.3f,
        iouThreshold: Float = 0.5f,
        mostDetections: Int = 100,
    ): List<Detection> {
        val number = description.classNames.size
        val candidates = ArrayList<Candidate>()
        for (index in logits.indices) {
            val score = 1 / (1 + exp(-logits[index]))
            if (score >= leastScore) candidates.add(Candidate(index / number, index % number, score))
        }
        candidates.sortWith(compareBy({ -it.score }, { it.label }, { it.row }))
        val chosen = ArrayList<Candidate>()
        for (candidate in candidates) {
            if (chosen.size == mostDetections) break
            candidate.box = decode(deltas, candidate.row)
            if (chosen.none { it.label == candidate.label && iou(it.box, candidate.box) > iouThreshold }) {
                chosen.add(candidate)
            }
        }
        return chosen.map { Detection(description.classNames[it.label], it.score, it.box) }
    }

    private class Candidate(val row: Int, val label: Int, val score: Float) {
        var box = FloatArray(4)
    }

    private fun decode(deltas: FloatArray, row: Int): FloatArray {
        val anchor = anchors[row]
        val box = FloatArray(4)
        for (axis in 0..1) {
            val size = anchor[axis + 2] - anchor[axis]
            val centre = (anchor[axis] + anchor[axis + 2]) * 0.5f
            val middle = deltas[4 * row + axis] / description.coderWeights[axis] * size + centre
            val half = 0.5f * exp(deltas[4 * row + axis + 2] / description.coderWeights[axis + 2]) * size
            box[axis] = middle - half
            box[axis + 2] = middle + half
        }
        return box
    }

    private fun iou(first: FloatArray, second: FloatArray): Float {
        val height = max(0f, min(first[2], second[2]) - max(first[0], second[0]))
        val width = max(0f, min(first[3], second[3]) - max(first[1], second[1]))
        val union = area(first) + area(second) - height * width
        return if (union > 0) height * width / union else 0f
    }

    private fun area(box: FloatArray) = (box[2] - box[0]) * (box[3] - box[1])
}

/** Anchors in pixels of the input; order: level, row, column, ratio, scale. */
fun anchorBoxes(description: Description): List<FloatArray> {
    val boxes = ArrayList<FloatArray>()
    for (level in description.levels) {
        val stride = 1 shl level
        val halves = ArrayList<DoubleArray>()
        for (ratio in description.anchorRatios) {
            for (scale in description.anchorScales) {
                var side = description.anchorSize * scale * stride
                if (description.anchorWholePixels) side = floor(side)
                val half = doubleArrayOf(0.5 * side * sqrt(ratio), 0.5 * side / sqrt(ratio))
                halves.add(if (description.anchorWholePixels) half.map { round(it) }.toDoubleArray() else half)
            }
        }
        for (row in 0 until description.height / stride) {
            for (column in 0 until description.width / stride) {
                val y = (row + description.anchorOffset) * stride
                val x = (column + description.anchorOffset) * stride
                for ((tall, wide) in halves.map { it[0] to it[1] }) boxes.add(corners(description, y, x, tall, wide))
            }
        }
    }
    return boxes
}

private fun corners(description: Description, y: Double, x: Double, tall: Double, wide: Double): FloatArray {
    val box = doubleArrayOf(y - tall, x - wide, y + tall, x + wide)
    if (description.anchorClip) {
        for (side in 0..3) {
            box[side] = box[side].coerceIn(0.0, (if (side % 2 == 0) description.height else description.width).toDouble())
        }
    }
    return FloatArray(4) { box[it].toFloat() }
}
