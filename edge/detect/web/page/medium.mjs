// What is looked at: a picture, a video file or the camera, each as an element that the page shows.

import { PageError } from "./page_error.mjs";

const CAMERA_REFUSALS = {
  NotAllowedError: "The camera was refused. Allow it for this page in the browser, then press Camera again.",
  NotFoundError: "No camera was found. Connect one, or choose a picture or a video.",
  NotReadableError: "The camera is in use by another program. Close that program, then press Camera again.",
};

/** Returns an image or video element of a file. Throws a PageError when the browser cannot show it. */
export async function openFile(file) {
  const element = document.createElement(file.type.startsWith("video/") ? "video" : "img");
  const source = URL.createObjectURL(file);
  try {
    if (element instanceof HTMLImageElement) {
      element.alt = file.name;
      element.src = source;
      await element.decode();
      if (element.naturalWidth === 0) throw new Error("a drawing without a size");
    } else {
      element.controls = true;
      element.loop = true;
      await startVideo(element, () => (element.src = source));
    }
    return element;
  } catch {
    URL.revokeObjectURL(source);
    throw new PageError(`${file.name}: expected a picture or a video that this browser can show.`);
  }
}

/** Returns a video element of the camera, on a phone the one at the back. Throws a PageError without one. */
export async function openCamera() {
  if (!navigator.mediaDevices) {
    throw new PageError("The browser gives the camera to pages of https:// and of this machine (127.0.0.1) only.");
  }
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" }, audio: false });
  } catch (error) {
    throw new PageError(CAMERA_REFUSALS[error.name] ?? `The camera did not start: ${error.message}`);
  }
  const element = document.createElement("video");
  await startVideo(element, () => (element.srcObject = stream));
  return element;
}

/** Ends a video or camera, and gives its memory back. */
export function closeMedium(element) {
  element.srcObject?.getTracks().forEach((track) => track.stop());
  if (element.src) URL.revokeObjectURL(element.src);
  element.remove();
}

/** Returns `{height, width}` of a picture or video in its own pixels, upright. */
export function mediumSize(element) {
  return element instanceof HTMLVideoElement
    ? { height: element.videoHeight, width: element.videoWidth }
    : { height: element.naturalHeight, width: element.naturalWidth };
}

/** Calls `act` for every new frame that it is quick enough for, until the element has left the page. */
export function eachFrame(video, act) {
  const next = video.requestVideoFrameCallback
    ? (step) => video.requestVideoFrameCallback(step)
    : (step) => requestAnimationFrame(step);
  const step = () => {
    if (!video.isConnected) return;
    act();
    next(step);
  };
  next(step);
}

async function startVideo(element, connect) {
  element.muted = true; // otherwise browsers do not start it
  element.playsInline = true; // otherwise phones show it full screen, without the boxes
  const ready = new Promise((resolve, reject) => {
    element.onloadeddata = resolve;
    element.onerror = reject;
  });
  connect();
  await ready;
  await element.play();
}
