// A picture file, such as a photo of one's handwriting, as numbers on the sheet.

import { SIDE_OF_SHEET } from "./sheet.js";

const MOST_MEGABYTES = 20, MOST_MEGAPIXELS = 40;           // beyond them a phone's browser may run out of memory
const FINER = 4;                                           // pixels drawn by the browser along each of the sheet's
const SMALLER = "make it smaller, such as 1,000 pixels wide";

// The picture's greys, 0 black and 1 white, row by row on the whole sheet.
export async function readPicture(file) {
  if (file.size > MOST_MEGABYTES * 1e6) {
    throw new Error(`a picture file of at most ${MOST_MEGABYTES} MB was expected, got `
      + `${Math.round(file.size / 1e6)} MB; ${SMALLER}`);
  }
  const address = URL.createObjectURL(file);
  try {
    const picture = await opened(address, file.name);
    const megapixels = picture.naturalWidth * picture.naturalHeight / 1e6;
    if (megapixels > MOST_MEGAPIXELS) {
      throw new Error(`a picture of at most ${MOST_MEGAPIXELS} million pixels was expected, got `
        + `${Math.round(megapixels)} million; ${SMALLER}`);
    }
    return greysOf(picture);
  } finally {
    URL.revokeObjectURL(address);
  }
}

// Its size is known then, and no pixel of it is decoded yet.
function opened(address, name) {
  return new Promise((resolve, reject) => {
    const picture = new Image();
    const refuse = () => reject(new Error(`a picture was expected (PNG, JPEG, WebP, ...), got the file ${name}, which `
      + "this browser cannot read as one; choose another, or save it as PNG"));
    picture.onload = () => (picture.naturalWidth && picture.naturalHeight ? resolve(picture) : refuse());
    picture.onerror = refuse;
    picture.src = address;
  });
}

// As large as it fits into the middle of the sheet; around it is the grey of its own edge.
function greysOf(picture) {
  const { naturalWidth, naturalHeight } = picture, scale = SIDE_OF_SHEET / Math.max(naturalWidth, naturalHeight);
  const [width, height] = [naturalWidth, naturalHeight].map((side) => Math.max(1, Math.round(scale * side)));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [FINER * width, FINER * height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";                              // behind what is transparent
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const greys = new Float32Array(width * height);
  for (let i = 0; i < canvas.width * canvas.height; i++) {
    const x = Math.floor(i % canvas.width / FINER), y = Math.floor(i / canvas.width / FINER);
    const light = 0.2126 * data[4 * i] + 0.7152 * data[4 * i + 1] + 0.0722 * data[4 * i + 2];        // Rec. 709
    greys[width * y + x] += light / 255 / FINER ** 2;
  }
  const atEdge = greys.filter((_, i) => [0, width - 1].includes(i % width) || i < width || i >= width * (height - 1));
  const left = (SIDE_OF_SHEET - width) >> 1, top = (SIDE_OF_SHEET - height) >> 1;
  const sheet = new Float32Array(SIDE_OF_SHEET ** 2).fill(atEdge.sort()[atEdge.length >> 1]);
  for (let y = 0; y < height; y++) {
    sheet.set(greys.subarray(width * y, width * (y + 1)), SIDE_OF_SHEET * (top + y) + left);
  }
  return sheet;
}
