// Runs a detector in its post-process form (NAME_int8.tflite, NAME_float32.tflite) with LiteRT in C++.
//
//   g++ -std=c++17 -O2 detect.cpp libLiteRt.so -Wl,-rpath,'$ORIGIN' -o detect
//   ./detect NAME_int8.tflite photo.ppm labels.txt 0.3
//
// photo.ppm is a binary PPM (P6) of the network's own size: `convert photo.jpg -resize 320x320! photo.ppm`. It prints
// one line for each object: name, score, y1, x1, y2, x2; boxes are shares of the picture, 0 to 1.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "litert_c_api.h"

struct Detection {
  int label;
  float score;
  float box[4];  // y1, x1, y2, x2
};

void check(LiteRtStatus status, const char* what) {
  if (status != 0) throw std::runtime_error(std::string(what) + ": LiteRT said " + std::to_string(status));
}

template <typename T>
using Owned = std::unique_ptr<std::remove_pointer_t<T>, void (*)(T)>;

class Detector {
 public:
  explicit Detector(const std::string& path) {
    LiteRtEnvironment environment;
    check(LiteRtCreateEnvironment(0, nullptr, &environment), "environment");
    environment_.reset(environment);
    LiteRtModel model;
    check(LiteRtCreateModelFromFile(environment, path.c_str(), &model), path.c_str());
    model_.reset(model);
    LiteRtOptions options;
    check(LiteRtCreateOptions(&options), "options");
    Owned<LiteRtOptions> owned(options, LiteRtDestroyOptions);
    check(LiteRtSetOptionsHardwareAccelerators(options, kLiteRtHwAcceleratorCpu), "accelerators");
    LiteRtCompiledModel compiled;
    check(LiteRtCreateCompiledModel(environment, model, options, &compiled), "compiled model");
    compiled_.reset(compiled);

    LiteRtSignature signature;
    check(LiteRtGetModelSignature(model, 0, &signature), "signature");
    LiteRtTensor tensor;
    check(LiteRtGetSignatureInputTensorByIndex(signature, 0, &tensor), "input");
    LiteRtTensorBufferRequirements needs;
    check(LiteRtGetCompiledModelInputBufferRequirements(compiled, 0, 0, &needs), "input");
    input_.push_back(buffer(tensor, needs, &input_type_));
    size_t number = 0;
    check(LiteRtGetNumSignatureOutputs(signature, &number), "outputs");
    for (size_t index = 0; index < number; ++index) {
      const char* name;
      LiteRtRankedTensorType type;
      check(LiteRtGetSignatureOutputName(signature, index, &name), "output");
      check(LiteRtGetSignatureOutputTensorByIndex(signature, index, &tensor), name);
      check(LiteRtGetCompiledModelOutputBufferRequirements(compiled, 0, index, &needs), name);
      output_.push_back(buffer(tensor, needs, &type));
      place_[name] = index;
    }
    for (const char* name : {"output_0", "output_1", "output_2", "output_3"})
      if (!place_.count(name)) throw std::runtime_error(path + ": expected a post-process file of keras-retina");
  }

  ~Detector() {
    for (auto* buffers : {&input_, &output_})
      for (LiteRtTensorBuffer buffer : *buffers) LiteRtDestroyTensorBuffer(buffer);
  }

  int height() const { return input_type_.dimensions[1]; }
  int width() const { return input_type_.dimensions[2]; }

  // `pixels` are RGB bytes, rows from the top, height() x width() x 3.
  std::vector<Detection> detect(const std::vector<uint8_t>& pixels, float least_score) {
    void* address;
    check(LiteRtLockTensorBuffer(input_[0], &address, kLiteRtTensorBufferLockModeWrite), "input");
    std::memcpy(address, pixels.data(), pixels.size());
    check(LiteRtUnlockTensorBuffer(input_[0]), "input");
    check(LiteRtRunCompiledModel(compiled_.get(), 0, 1, input_.data(), output_.size(), output_.data()), "run");
    const std::vector<float> count = values("output_0"), scores = values("output_1");
    const std::vector<float> classes = values("output_2"), boxes = values("output_3");
    std::vector<Detection> found;
    for (int row = 0; row < static_cast<int>(count[0]); ++row) {
      if (scores[row] < least_score) continue;
      Detection one{static_cast<int>(std::lround(classes[row])), scores[row], {}};
      std::copy_n(boxes.begin() + 4 * row, 4, one.box);
      found.push_back(one);
    }
    return found;
  }

 private:
  LiteRtTensorBuffer buffer(LiteRtTensor tensor, LiteRtTensorBufferRequirements needs, LiteRtRankedTensorType* type) {
    LiteRtTensorBuffer made;
    check(LiteRtGetRankedTensorType(tensor, type), "tensor");
    check(LiteRtCreateManagedTensorBufferFromRequirements(environment_.get(), type, needs, &made), "buffer");
    return made;
  }

  std::vector<float> values(const std::string& name) {
    LiteRtTensorBuffer buffer = output_[place_.at(name)];
    size_t bytes = 0;
    void* address;
    check(LiteRtGetTensorBufferPackedSize(buffer, &bytes), name.c_str());
    check(LiteRtLockTensorBuffer(buffer, &address, kLiteRtTensorBufferLockModeRead), name.c_str());
    std::vector<float> copied(bytes / sizeof(float));
    std::memcpy(copied.data(), address, copied.size() * sizeof(float));
    check(LiteRtUnlockTensorBuffer(buffer), name.c_str());
    return copied;
  }

  Owned<LiteRtEnvironment> environment_{nullptr, LiteRtDestroyEnvironment};
  Owned<LiteRtModel> model_{nullptr, LiteRtDestroyModel};
  Owned<LiteRtCompiledModel> compiled_{nullptr, LiteRtDestroyCompiledModel};
  LiteRtRankedTensorType input_type_{};
  std::vector<LiteRtTensorBuffer> input_, output_;
  std::map<std::string, size_t> place_;
};

std::vector<uint8_t> read_ppm(const std::string& path, int height, int width) {
  std::ifstream file(path, std::ios::binary);
  std::string kind;
  int columns = 0, rows = 0, largest = 0;
  file >> kind >> columns >> rows >> largest;
  file.get();
  if (kind != "P6" || columns != width || rows != height || largest != 255)
    throw std::runtime_error(path + ": expected a binary PPM (P6) of " + std::to_string(width) + " x " +
                             std::to_string(height) + " pixels");
  std::vector<uint8_t> pixels(static_cast<size_t>(height) * width * 3);
  if (!file.read(reinterpret_cast<char*>(pixels.data()), pixels.size())) throw std::runtime_error(path + ": cut off");
  return pixels;
}

int main(int count, char** arguments) {
  if (count < 4) {
    std::cerr << "usage: detect MODEL.tflite PHOTO.ppm labels.txt [least score]\n";
    return 2;
  }
  try {
    Detector detector(arguments[1]);
    std::vector<std::string> labels;
    std::ifstream file(arguments[3]);
    for (std::string line; std::getline(file, line);) labels.push_back(line);
    const float least = count > 4 ? std::stof(arguments[4]) : 0.3f;
    for (const Detection& one : detector.detect(read_ppm(arguments[2], detector.height(), detector.width()), least)) {
      const auto* box = one.box;
      std::printf("%s %.4f %.4f %.4f %.4f %.4f\n", labels.at(one.label).c_str(), one.score, box[0], box[1], box[2],
                  box[3]);
    }
  } catch (const std::exception& error) {
    std::cerr << "detect: " << error.what() << "\n";
    return 2;
  }
  return 0;
}
