// Runs a page's script on what comes from a pipe: node web_folder.mjs FOLDER.
// An answer is its length in bytes, 4 bytes of their own, and content. The first, without a question, is JSON: the
// labelling, and what runs the network. A question is 0, for normalised 32-bit numbers of an image, or 1, for a picture
// of 4 bytes a pixel, then height, width, channels, 4 bytes each, and the content; its answer are the logits.
import { readSync, writeSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [RUN, IN, OUT] = [0, 0, 1];
console.log = console.info = console.error; // the pipe is for answers only

/** Returns bytes from the pipe; at its end the process ends. */
function take(length) {
  const content = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const more = readSync(IN, content, done, length - done, null);
    if (more === 0) process.exit(0);
    done += more;
  }
  return content;
}

function answer(content) {
  for (const bytes of [new Uint8Array(Uint32Array.of(content.length).buffer), content]) {
    for (let done = 0; done < bytes.length; ) done += writeSync(OUT, bytes, done, bytes.length - done);
  }
}

try {
  const folder = resolve(process.argv[2]);
  const { RUNTIME, open } = await import(pathToFileURL(join(folder, "classifier.js")));
  const classifier = await open(async (name) => new Uint8Array(await readFile(join(folder, name))));
  const facts = { labelling: classifier.labelling, runtime: `${RUNTIME} in Node.js ${process.versions.node}` };
  answer(new TextEncoder().encode(JSON.stringify(facts)));
  for (;;) {
    const [question, height, width, channels] = new Uint32Array(take(16).buffer);
    const size = height * width * channels;
    const { logits } = question === RUN
      ? await classifier.run(new Float32Array(take(4 * size).buffer), [1, height, width, channels])
      : await classifier.classify({ data: take(size), height, width });
    answer(new Uint8Array(logits.buffer, logits.byteOffset, logits.byteLength));
  }
} catch (error) {
  console.error(`${error.name}: ${error.message}`.replace(/\s+/g, " "));
  process.exit(1);
}
