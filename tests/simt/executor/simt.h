#pragma once
// Includes all that a .cu file needs to be compiled by g++ and run on the CPU: CUDA's own headers for types
// and the host's API, and this folder for what only nvcc knows. docs/executor.md explains the whole.

#include "qualifiers.h"
//
#include "atomics.h"
#include "block.h"
#include "half.h"
#include "intrinsics.h"
#include "launch.h"
#include "matrix.h"
#include "shared.h"
#include "warp.h"
