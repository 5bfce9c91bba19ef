"""Where the images of a dataset come from: one file for each kind; an answer of conf/data names the class.

How an image file is decoded (readers/, image_files/) and how batches are made (../loaders) does not belong here.
"""
