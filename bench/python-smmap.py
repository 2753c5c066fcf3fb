#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""python-smmap.py FILE WINDOW PLACES SUM

Reads 8 bytes of FILE at each of PLACES (a file of 32-bit numbers of words) by Python's smmap, and prints how many nanoseconds one takes.
Fails if all of them do not add up to SUM. With --version alone it only tells whether smmap is there.
"""
import array
import os
import struct
import sys
import time

import smmap

if sys.argv[1:] == ["--version"]:
    print(0)
    sys.exit()
path, window, places_path, expected = sys.argv[1:]
places = array.array("I")
with open(places_path, "rb") as places_file:
    places.fromfile(places_file, os.path.getsize(places_path) // places.itemsize)

manager = smmap.SlidingWindowMapManager(window_size=int(window))
cursor = manager.make_cursor(path)
word = struct.Struct("=Q").unpack_from


def read_all():
    total = 0
    for place in places:
        cursor.use_region(place * 8, 8)
        total += word(cursor.buffer())[0]
    return total


# What is measured has no page to fetch.
read_all()
start = time.thread_time_ns()
total = read_all()
taken = time.thread_time_ns() - start
if total % 2**64 != int(expected):
    sys.exit("what was read is not what the file holds")
print(taken / len(places))
