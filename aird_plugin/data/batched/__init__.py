"""The degradations of data/degradation.py as batched torch operations, for images of different px in one call.

linear       resizes and the warp as one matrix per image
gaussian     Pillow's Gaussian blur
jpeg         libjpeg's encoding and decoding
noise        Gaussian and shot noise, and the mean of shifted images (blur along a line)
realworld    the four steps of data/realworld.py, each image in its own order
degrade      all of them: 112 px images -> the student's input images

Images of different sides are the top left corners of one tensor, uint8 (B, S, S, 3), with `side_B` (numpy int64); the rest of
the tensor has no meaning. B or X = images, S = largest side, T = target side, N = blocks of 8 x 8 samples.
"""
