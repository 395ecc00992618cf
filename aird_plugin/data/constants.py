"""Constants that many modules share; importing this module loads nothing else."""

# Side in pixels of an aligned image: the HR images, the teacher's input and the crops.
FACE_SIDE = 112
# The label of an image of no known identity, and the filler of index lists.
NO_IDENTITY = -1
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
