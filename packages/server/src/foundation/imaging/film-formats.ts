/**
 * ffmpeg's demuxer for each type of film, by the type that was detected from the bytes. None of these opens a second
 * file; those that do (hls, dash, concat and the like) are never chosen, whatever the file says of itself.
 */
const demuxers: ReadonlyMap<string, string> = new Map([
  ['video/mp4', 'mov'],
  ['video/x-m4v', 'mov'],
  ['video/quicktime', 'mov'],
  ['video/3gpp', 'mov'],
  ['video/3gpp2', 'mov'],
  ['video/webm', 'matroska'],
  ['video/matroska', 'matroska'],
  ['video/vnd.avi', 'avi'],
  ['video/x-flv', 'flv'],
  ['video/x-ms-asf', 'asf'],
  ['video/ogg', 'ogg'],
  ['video/mp2t', 'mpegts'],
  ['video/mp1s', 'mpeg'],
  ['video/mp2p', 'mpeg'],
  ['video/mpeg', 'mpegvideo'],
]);

/** True for the types of film that a poster can be taken of, where there is ffmpeg. */
export function isFilm(mimeType: string): boolean {
  return demuxers.has(mimeType);
}

/** The name of ffmpeg's demuxer, or undefined for what is no film. */
export function demuxerOf(mimeType: string): string | undefined {
  return demuxers.get(mimeType);
}

/** Decoders that may open a film's pictures: what cameras, browsers and editors write, of the 250 that there are. */
export const filmDecoders = [
  'h264 hevc vvc vp8 vp9 libvpx libvpx-vp9 av1 libdav1d libaom-av1 theora',
  'mpeg1video mpeg2video mpegvideo mpeg4 msmpeg4v1 msmpeg4v2 msmpeg4 h261 h263 h263i h263p',
  'flv vp3 vp6 vp6a vp6f wmv1 wmv2 wmv3 vc1 svq1 svq3 cinepak qtrle',
  'mjpeg mjpegb prores dnxhd cfhd dvvideo huffyuv ffvhuff ffv1 utvideo rawvideo',
].flatMap((names) => names.split(' '));
