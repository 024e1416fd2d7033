// The page: takes pictures, shows what the network makes of them.
import { RUNTIME, open } from "./classifier.js";

const MOST = 5; // bars of a picture that are shown at once
const element = (name) => document.getElementById(name);
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const waiting = []; // pictures that are still to be classified
let classifier, busy, stream, taken = 0;

/** Makes an element with properties and children; texts are never read as HTML. */
function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

async function read(name) {
  const response = await fetch(new URL(name, import.meta.url));
  if (!response.ok) throw new Error(`${name} cannot be loaded (${response.status})`);
  return new Uint8Array(await response.arrayBuffer());
}

/** Classifies a File or Blob and shows nothing; a program may call it as `classify(file)`. */
async function classify(file) {
  // Upright as its file says, its colours as they are in the file.
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  const { top, left, height, width } = classifier.part(bitmap.height, bitmap.width);
  const context = make("canvas", { height, width }).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white"; // behind what is transparent
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, -left, -top);
  bitmap.close();
  return classifier.classify(context.getImageData(0, 0, width, height));
}

/** Takes files, of which each is told by its result or by one line. */
async function take(files) {
  tell("");
  if (files.length === 0) tell("There was no picture in it.");
  waiting.push(...files);
  if (busy || !classifier) return;
  busy = true;
  for (let file; (file = waiting.shift()); ) {
    try {
      show(file, await classify(file));
    } catch (error) {
      const reason = error.name === "InvalidStateError" ? "it is no picture that this browser can read" : error.message;
      tell(`${file.name}: ${reason}.`);
    }
  }
  busy = false;
}

function tell(problem) {
  const line = element("problem");
  const lines = problem && line.textContent ? `${line.textContent} ${problem}` : problem;
  line.textContent = lines;
  line.hidden = !lines;
}

function show(file, { label, place, probabilities, milliseconds, shown }) {
  const names = classifier.labelling.class_names;
  const took = `${milliseconds < 0.1 ? "under 0.1" : milliseconds.toFixed(1)} ms`;
  const ranked = Array.from(probabilities.keys()).sort((a, b) => probabilities[b] - probabilities[a]);
  const bars = make("ol", { className: "bars", ariaLabel: "Probabilities" });
  const add = (places) => bars.append(...places.map((i) => bar(names[i], probabilities[i])));
  add(ranked.slice(0, MOST));
  const picture = make("img", { alt: file.name, src: URL.createObjectURL(file) });
  const title = make("h2", { dir: "auto" }, label);
  const line = make("p", { className: "origin" }, make("bdi", {}, file.name), ` · ${took}`);
  const text = make("div", { className: "text" }, title, line, bars);
  if (ranked.length > MOST) {
    const more = make("button", { type: "button", className: "more" }, `All ${ranked.length.toLocaleString("en")} classes`);
    more.onclick = () => {
      add(ranked.slice(MOST));
      bars.children[MOST].tabIndex = -1;
      bars.children[MOST].focus(); // the button that had the focus goes
      more.remove();
    };
    text.append(more);
  }
  element("results").prepend(make("li", {}, make("div", { className: "pictures" }, picture, drawn(shown)), text));
  element("clear").hidden = false;
  element("status").textContent = `${file.name}: ${label}, ${percent(probabilities[place])}, ${took}`;
}

function bar(name, share) {
  const length = make("span", { className: "length" });
  length.style.inlineSize = `${100 * share}%`;
  const track = make("span", { className: "track", ariaHidden: "true" }, length);
  return make("li", {}, make("span", { className: "name", dir: "auto" }, name), make("span", {}, percent(share)), track);
}

/** Returns the picture that the network was shown. */
function drawn({ data, height, width, channels }) {
  const image = new ImageData(width, height);
  for (let i = 0; i < height * width; i++) {
    const colour = channels === 1 ? Array(3).fill(data[i]) : data.subarray(3 * i, 3 * i + 3);
    image.data.set([...colour, 255], 4 * i);
  }
  const canvas = make("canvas", { width, height, role: "img" });
  canvas.ariaLabel = `What the network saw of it, ${width} × ${height} pixels`;
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

async function useCamera() {
  tell("");
  if (!navigator.mediaDevices) return tell("Browsers give the camera only to pages of https addresses and of localhost.");
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    const reasons = {
      NotAllowedError: "The camera was refused: allow it in the settings of the browser.",
      NotFoundError: "There is no camera.",
    };
    return tell(reasons[error.name] ?? `The camera cannot be used: ${error.message}.`);
  }
  element("video").srcObject = stream;
  await element("video").play();
  switched(true);
  element("shoot").focus();
}

function stopCamera() {
  stream.getTracks().forEach((track) => track.stop());
  element("video").srcObject = null;
  switched(false);
  element("camera").focus();
}

function switched(on) {
  element("viewfinder").hidden = !on;
  element("camera").hidden = on;
}

function shoot() {
  const video = element("video");
  const canvas = make("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => take([new File([blob], `camera ${++taken}`)]), "image/png");
}

function clear() {
  for (const picture of document.querySelectorAll("#results img")) URL.revokeObjectURL(picture.src);
  element("results").replaceChildren();
  element("clear").hidden = true;
  element("status").textContent = "Cleared.";
  tell("");
  element("files").focus();
}

element("files").onchange = ({ target }) => {
  if (target.files.length) take([...target.files]);
  target.value = ""; // so that the same file can be chosen again
};
element("camera").onclick = useCamera;
element("shoot").onclick = shoot;
element("stop").onclick = stopCamera;
element("clear").onclick = clear;
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
addEventListener("dragleave", ({ relatedTarget }) => {
  if (!relatedTarget) document.body.classList.remove("over"); // it has left the window
});
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  take([...event.dataTransfer.files]);
});
addEventListener("paste", ({ clipboardData }) => take([...clipboardData.files]));

try {
  classifier = await open(read);
  const { class_names: names, image_shape: [height, width, channels], white } = classifier.labelling;
  await classifier.run(new Float32Array(height * width * channels), [1, height, width, channels]); // the first is slow
  const kinds = names.length > 12 ? `${names.length.toLocaleString("en")} classes` : names.join(", ");
  element("about").textContent = `A network that tells apart: ${kinds}.`;
  if (white) {
    element("about").textContent += ` It was trained on pictures of more than 8 bits in which ${white} is white; here`
      + " 65535 is, so that such pictures look dark to it.";
  }
  element("files").disabled = element("camera").disabled = false;
  element("status").textContent = `Ready: ${width} × ${height} pixels, ${RUNTIME}.`;
  globalThis.classify = classify;
  if (waiting.length) take(waiting.splice(0));
} catch (error) {
  element("status").textContent = "";
  tell(`The network could not be loaded: ${error.message}.`);
}
