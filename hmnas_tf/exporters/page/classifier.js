// The network, and what it makes of a picture. The page uses this, and so does Node.js before a page is published.
import * as ort from "./onnxruntime-web.js";
import { central, coloured, normalised, part, resized } from "./pixels.js";

/** Returns a classifier. `read` gives a promise of the bytes of a file in this folder. */
export async function open(read) {
  const [text, wasm, model] = await Promise.all(["labelling.json", "onnxruntime-web.wasm", "model.onnx"].map(read));
  ort.env.wasm.numThreads = 1; // more of them want headers that a plain server does not send
  ort.env.wasm.wasmBinary = wasm;
  const labelling = JSON.parse(new TextDecoder().decode(text));
  return new Classifier(labelling, await ort.InferenceSession.create(model, { executionProviders: ["wasm"] }));
}

/** What runs the network, in words. */
export const RUNTIME = `onnxruntime-web ${ort.env.versions.web}`;

class Classifier {
  /** `labelling` is the content of labelling.json: names of classes, size of the input, its normalisation. */
  constructor(labelling, session) {
    this.labelling = labelling;
    this.session = session;
  }

  /** Runs the network once on normalised 32-bit numbers of the shape [1, height, width, channels]. */
  async run(numbers, shape) {
    const image = new ort.Tensor("float32", numbers, shape);
    const started = performance.now();
    const { logits, probabilities } = await this.session.run({ image });
    const milliseconds = performance.now() - started;
    const classes = this.labelling.class_names.length;
    if (logits.data.length !== classes) {
      throw new Error(`expected a logit for each of ${classes} classes, received ${logits.data.length}`);
    }
    return { logits: logits.data, probabilities: probabilities.data, milliseconds };
  }

  /** Returns which part of a picture of a size the network is shown: { top, left, height, width }. */
  part(height, width) {
    return part(height, width, this.labelling.image_shape);
  }

  /**
   * Classifies that part of a picture, { data, height, width } with 4 numbers a pixel as a canvas has them.
   * Returns the label, its place, logits and probabilities of all classes, the milliseconds that the network took, and
   * `shown`, the picture of the network's size.
   */
  async classify(picture) {
    const { class_names, image_shape, mean, std, resized: side } = this.labelling;
    const whole = resized(coloured(picture, image_shape[2]), side ? [side, side] : image_shape);
    const shown = central(whole, image_shape);
    const found = await this.run(normalised(shown, mean, std), [1, ...image_shape]);
    const place = found.logits.indexOf(Math.max(...found.logits));
    return { label: class_names[place], place, ...found, shown };
  }
}
