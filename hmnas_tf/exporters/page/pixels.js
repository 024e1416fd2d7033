// From the pixels of a picture to those of a network's input, as in training: hmnas_tf/data/resizing.py and
// image_files.py. Pictures are { data, height, width, channels }, data in rows, channels last, 0..255.

const single = Math.fround; // TensorFlow resizes in 32 bits, and rounds each of these steps

/** Returns the part of a picture that is used: its central square where the input is a square, else all of it. */
export function part(height, width, [toHeight, toWidth]) {
  if (toHeight !== toWidth) return { top: 0, left: 0, height, width };
  const side = Math.min(height, width);
  return { top: Math.floor((height - side) / 2), left: Math.floor((width - side) / 2), height: side, width: side };
}

/** Returns a picture of 4 channels, red, green, blue and one that is left out, with the 1 or 3 that a network takes. */
export function coloured({ data, height, width }, channels) {
  const count = height * width, out = new Uint8ClampedArray(count * channels);
  for (let i = 0; i < count; i++) {
    const red = data[4 * i], green = data[4 * i + 1], blue = data[4 * i + 2];
    if (channels === 1) {
      out[i] = (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16; // luma of ITU-R BT.601, as Pillow has it
    } else {
      out[3 * i] = red;
      out[3 * i + 1] = green;
      out[3 * i + 2] = blue;
    }
  }
  return { data: out, height, width, channels };
}

/** Resizes a picture with the triangle filter of tf.image.resize(antialias=True): rows first, then columns. */
export function resized({ data, height, width, channels }, [toHeight, toWidth]) {
  const length = width * channels;
  const rows = new Float32Array(toHeight * length);
  weights(height, toHeight).forEach(({ start, shares }, y) => {
    const row = rows.subarray(y * length, (y + 1) * length);
    shares.forEach((share, k) => {
      const from = (start + k) * length;
      for (let i = 0; i < length; i++) row[i] += single(share * data[from + i]);
    });
  });
  const out = new Float32Array(toHeight * toWidth * channels);
  const columns = weights(width, toWidth);
  for (let y = 0; y < toHeight; y++) {
    columns.forEach(({ start, shares }, x) => {
      const to = (y * toWidth + x) * channels;
      shares.forEach((share, k) => {
        const from = y * length + (start + k) * channels;
        for (let c = 0; c < channels; c++) out[to + c] += single(share * rows[from + c]);
      });
    });
  }
  // An array of this kind rounds halves to even, as tf.round does.
  return { data: Uint8ClampedArray.from(out), height: toHeight, width: toWidth, channels };
}

/** Returns the middle of a picture: [toHeight, toWidth] of it. */
export function central({ data, height, width, channels }, [toHeight, toWidth]) {
  const top = Math.floor((height - toHeight) / 2), left = Math.floor((width - toWidth) / 2);
  const out = new Uint8ClampedArray(toHeight * toWidth * channels);
  for (let y = 0; y < toHeight; y++) {
    const from = ((top + y) * width + left) * channels;
    out.set(data.subarray(from, from + toWidth * channels), y * toWidth * channels);
  }
  return { data: out, height: toHeight, width: toWidth, channels };
}

/** Returns for each of `to` places in a row of `from` where its filter starts and the share of each pixel in it. */
function weights(from, to) {
  const step = single(1 / single(to / from));
  const radius = Math.max(step, 1); // wider than a pixel only where the picture shrinks
  const narrowing = single(1 / radius);
  const inside = (place) => Math.min(Math.max(place, 0), from - 1);
  return Array.from({ length: to }, (_, place) => {
    const centre = single((place + 0.5) * step);
    const start = inside(Math.ceil(single(single(centre - radius) - 0.5)));
    const end = inside(Math.floor(single(single(centre + radius) - 0.5)));
    const shares = [];
    let total = 0;
    for (let pixel = start; pixel <= end; pixel++) {
      const distance = Math.abs(single(single(pixel + 0.5 - centre) * narrowing));
      shares.push(distance < 1 ? single(1 - distance) : 0);
      total = single(total + shares.at(-1));
    }
    const inverse = single(1 / total);
    return { start, shares: shares.map((share) => single(share * inverse)) };
  });
}

/** Returns (pixels / 255 - mean) / std as 32-bit numbers. */
export function normalised({ data, channels }, mean, std) {
  const [means, stds] = [Float32Array.from(mean), Float32Array.from(std)];
  return Float32Array.from(data, (value, i) => {
    const c = i % channels;
    return single(single(single(value / 255) - means[c]) / stds[c]);
  });
}
