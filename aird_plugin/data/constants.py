"""Constants that many modules share; importing this module loads nothing else."""

# Side in pixels of an aligned image: the HR images, the teacher's input and the crops.
FACE_SIDE = 112
# The label of an image of no known identity, and the filler of index lists.
NO_IDENTITY = -1
# Names of image files, in any case; the formats are those of `images.FILE_FORMATS`.
IMAGE_SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".bmp",
    ".webp",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
    ".gif",
)
# The same for a reader.
IMAGE_KINDS = ".jpg, .png, .bmp, .webp, .tif, .ppm, .pgm or .gif"
