/** Structural similarity of two pictures (Wang et al., 2004), of their brightness, in windows of 8 × 8 pixels. */

const windowSide = 8;
/** Windows overlap by half. */
const step = 4;
/** The paper's constants, for eight bits. */
const c1 = (0.01 * 255) ** 2;
const c2 = (0.03 * 255) ** 2;

/** Brightness (Rec. 601, as JPEG and WebP code it) of raw pixels; white behind what is transparent. */
export function brightness({ data, info: { width, height, channels } }) {
  const luma = new Float64Array(width * height);
  for (let i = 0, at = 0; i < luma.length; i++, at += channels) {
    const value = channels < 3 ? data[at] : 0.299 * data[at] + 0.587 * data[at + 1] + 0.114 * data[at + 2];
    const alpha = channels % 2 === 0 ? data[at + channels - 1] / 255 : 1;
    luma[i] = value * alpha + 255 * (1 - alpha);
  }
  return { luma, width, height };
}

/** Mean over all windows; both are what `brightness` gives, of the same size. */
export function ssim(one, other) {
  const { width, height } = one;
  if (other.width !== width || other.height !== height) throw new Error('pictures of different sizes');
  let sum = 0;
  let windows = 0;
  for (let y = 0; y + windowSide <= height; y += step) {
    for (let x = 0; x + windowSide <= width; x += step) {
      sum += similarity(one.luma, other.luma, width, x, y);
      windows++;
    }
  }
  return sum / windows;
}

function similarity(a, b, width, left, top) {
  let sumA = 0;
  let sumB = 0;
  let squaresA = 0;
  let squaresB = 0;
  let products = 0;
  for (let y = top; y < top + windowSide; y++) {
    for (let at = y * width + left, end = at + windowSide; at < end; at++) {
      sumA += a[at];
      sumB += b[at];
      squaresA += a[at] * a[at];
      squaresB += b[at] * b[at];
      products += a[at] * b[at];
    }
  }
  const count = windowSide * windowSide;
  const meanA = sumA / count;
  const meanB = sumB / count;
  const varianceA = squaresA / count - meanA * meanA;
  const varianceB = squaresB / count - meanB * meanB;
  const covariance = products / count - meanA * meanB;
  return (
    ((2 * meanA * meanB + c1) * (2 * covariance + c2)) /
    ((meanA * meanA + meanB * meanB + c1) * (varianceA + varianceB + c2))
  );
}
