"""Faults that scripts/plant_faults.py plants into the kernels, one at a time.

    Fault(what, kernel, op, file, old, new)

what    what is wrong then, as the table of docs/planted-faults.md says it
kernel  the kernel that is wrong, or one of those that share the code
op      the operation whose kernels are compiled anew and whose tests run: a folder of kernels/
file    where the text `old` stands, once, and is replaced by `new`
"""

from typing import NamedTuple


class Fault(NamedTuple):
    what: str
    kernel: str
    op: str
    file: str
    old: str
    new: str


def in_folder(op, name=None):
    return f"kernels/{op}/{name or op + '_cuda.cu'}"


SHARED_CODE = [
    Fault("no barrier before the warps' sums are read", "mean_kernel", "cross_entropy", "kernels/reduce.cuh",
          """partial[threadIdx.x / kWarp] = x;
  __syncthreads();
""", """partial[threadIdx.x / kWarp] = x;
"""),
    Fault("no barrier between one block sum and the next", "cv_squared_kernel", "importance_loss", "kernels/reduce.cuh",
          "  __syncthreads();  // before the next call writes\n", ""),
    Fault("a barrier that only some threads reach", "mean_kernel", "z_loss", "kernels/reduce.cuh",
          "if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = x;\n  __syncthreads();",
          "if (threadIdx.x % kWarp == 0) {\n    partial[threadIdx.x / kWarp] = x;\n    __syncthreads();\n  }"),
    Fault("a shuffle that leaves the sum with the first lane alone", "layer_norm_forward_kernel", "layer_norm",
          "kernels/reduce.cuh", "x += __shfl_xor_sync(~0u, x, offset);", "x += __shfl_down_sync(~0u, x, offset, kGroup);"),
    Fault("a mask that leaves out half of the warp", "cross_entropy_forward_kernel", "cross_entropy",
          "kernels/reduce.cuh", "const float other = __shfl_xor_sync(~0u, x, offset);",
          "const float other = __shfl_xor_sync(0xFFFFu, x, offset);"),
    Fault("a loop that runs one too far", "mean_kernel", "cross_entropy", "kernels/mean.cuh",
          "i < n; i += kMeanThreads", "i <= n; i += kMeanThreads"),
    Fault("a tree of shuffles that ends one step early", "column_sums_kernel", "add_bias", "kernels/column_sums.cuh",
          "offset < kWarp; offset *= 2", "offset < kWarp / 2; offset *= 2"),
    Fault("no barrier before the warps' columns are added", "column_sums_kernel", "add_bias", "kernels/column_sums.cuh",
          "  __syncthreads();\n  if (threadIdx.x >= kLanes) return;", "  if (threadIdx.x >= kLanes) return;"),
    Fault("the second run of rows begins at the wrong row", "column_sums_kernel", "add_bias", "kernels/column_sums.cuh",
          "begin = blockIdx.y * run", "begin = blockIdx.y * (run - 1)"),
    Fault("loads run over the end by one element", "elementwise_kernel", "pointwise", "kernels/elementwise.cuh",
          "load4(in.at[a] + i, n - i,", "load4(in.at[a] + i, n - i + 1,"),
    Fault("stores run over the end by one element", "elementwise_kernel", "scale", "kernels/elementwise.cuh",
          "store4(out.at[o] + i, n - i,", "store4(out.at[o] + i, n - i + 1,"),
    Fault("128-bit accesses to rows that lie on 8 bytes", "gather_forward_kernel", "gather", "kernels/vectors.cuh",
          "return stride % 4 == 0 && ((reinterpret_cast<uintptr_t>(rows) % 16 == 0) && ...);",
          "return stride % 2 == 0 && ((reinterpret_cast<uintptr_t>(rows) % 8 == 0) && ...);"),
    Fault("the tail of a row is read one element too far", "add_bias_kernel", "add_bias", "kernels/vectors.cuh",
          "v[j] = j < left ? p[j] : 0.0f;", "v[j] = j <= left ? p[j] : 0.0f;"),
    Fault("the second block of random numbers is the first again", "attention_forward_kernel", "attention",
          "kernels/random.cuh", "(first >> 2) + 1)", "(first >> 2))"),
    Fault("a segment is found one block too late", "adamw_kernel", "adamw", "kernels/segments.cuh",
          "first_block <= blockIdx.x ?", "first_block < blockIdx.x ?"),
    Fault("the last block of a segment is not cut at its end", "sum_of_squares_kernel", "grad_norm",
          "kernels/segments.cuh", "end < entry.segment.n ? end : entry.segment.n", "end"),
]

POINTWISE = [
    Fault("the gradient replaces what is there", "elementwise_kernel", "scale", in_folder("scale"),
          "dx[0][j] = in[0][j] + factor * in[1][j];", "dx[0][j] = factor * in[1][j];"),
    Fault("x + x is given the gradient of one x", "elementwise_kernel", "add", in_folder("add"),
          "in[0][j] + in[1][j] + in[1][j]", "in[0][j] + in[1][j]"),
    Fault("four elements of dropout take the draws of another four", "elementwise_kernel", "dropout",
          in_folder("dropout"), "drop4(rule, rng, i, y[0]);", "drop4(rule, rng, i + 4, y[0]);"),
    Fault("the bias of the next column", "add_bias_kernel", "add_bias", in_folder("add_bias"),
          "load4(bias + c, left, vectors, b);", "load4(bias + c + (left > 4), left, false, b);"),
    Fault("the first moment is decayed by the second's factor", "adamw_kernel", "adamw", in_folder("adamw"),
          "f.beta1 * m[j] +", "f.beta2 * m[j] +"),
]

MOVING_DATA = [
    Fault("an id one beyond the table is taken for one of its rows", "embedding_backward_kernel", "embedding",
          in_folder("embedding"), "if (id < 0 || id >= s.symbols) return;", "if (id < 0 || id > s.symbols) return;"),
    Fault("float atomics in place of an owner that adds in order", "embedding_backward_kernel", "embedding",
          in_folder("embedding"), """  for (int64_t base = 0; base < n; base += kWarp)
    if (""", """  float one[4];
  load4(dy + n * s.dim + c, s.dim - c, vectors, one);
  for (int j = 0; j < 4 && j < s.dim - c; ++j) atomicAdd(dtable + id * s.dim + c + j, one[j]);
  if (n >= 0) return;
  for (int64_t base = 0; base < n; base += kWarp)
    if ("""),
    Fault("rows are added without an owner", "embedding_backward_kernel", "embedding", in_folder("embedding"),
          "if (__any_sync(~0u, base + lane < n && ids[base + lane] == id)) return;",
          "if (__any_sync(~0u, base + lane < n - 1 && ids[base + lane] == id)) return;"),
    Fault("the lane behind the one that the ballot named", "embedding_backward_kernel", "embedding",
          in_folder("embedding"), "__ffs(static_cast<int>(mine)) - 1)", "__ffs(static_cast<int>(mine)))"),
    Fault("rows of no assignment are left as they are", "gather_forward_kernel", "gather", in_folder("gather"),
          "const int32_t a = assignment[r];", "const int32_t a = assignment[r];\n  if (a < 0) return;"),
    Fault("the slot of an assignment is taken for its token", "gather_forward_kernel", "gather", in_folder("gather"),
          "a / static_cast<int32_t>(s.topk)", "a % static_cast<int32_t>(s.topk)"),
    Fault("dropped assignments are followed", "gather_backward_kernel", "gather", in_folder("gather"),
          "      if (r < 0) continue;\n", ""),
    Fault("the last choice of each token is left out", "combine_forward_kernel", "combine", in_folder("combine"),
          "a < (n + 1) * s.topk", "a + 1 < (n + 1) * s.topk"),
    Fault("all lanes write what one should", "combine_backward_kernel", "combine", in_folder("combine"),
          "if (threadIdx.x % kWarp == 0) dgate[a] += product;", "dgate[a] += product;"),
]

DISPATCH = [
    Fault("no barrier between counting and offsets", "plan_one_run_kernel", "dispatch_plan", in_folder("dispatch_plan"),
          "count_run(p, ids, 0, p.count);\n  __syncthreads();", "count_run(p, ids, 0, p.count);"),
    Fault("a capacity of 0 counts as none", "plan_one_run_kernel", "dispatch_plan", in_folder("dispatch_plan"),
          "p.s.capacity >= 0 &&", "p.s.capacity > 0 &&"),
    Fault("an expert takes one row more than its capacity", "plan_one_run_kernel", "dispatch_plan",
          in_folder("dispatch_plan"), "if (r < last) p.assignment", "if (r <= last) p.assignment"),
    Fault("a lane counts itself among those before it", "plan_one_run_kernel", "dispatch_plan",
          in_folder("dispatch_plan"), "((1u << lane) - 1)", "((2u << lane) - 1)"),
    Fault("the assignment behind the last is read", "plan_one_run_kernel", "dispatch_plan",
          in_folder("dispatch_plan"), "ids[i] = i < size ?", "ids[i] = i <= size ?"),
    Fault("runs begin where they should end", "plan_scan_kernel", "dispatch_plan", in_folder("dispatch_plan"),
          "= sum;\n      sum += here;", "= sum + here;\n      sum += here;"),
    Fault("a launch on the default stream", "plan_scan_kernel", "dispatch_plan", in_folder("dispatch_plan"),
          "plan_scan_kernel>({1, kThreads, 0, stream}", "plan_scan_kernel>({1, kThreads, 0, nullptr}"),
    Fault("blocks of more threads than there can be", "plan_one_run_kernel", "dispatch_plan",
          in_folder("dispatch_plan"), "constexpr int kThreads = 1024,", "constexpr int kThreads = 2048,"),
]

ROUTER = [
    Fault("of equal logits the higher expert first", "gating_forward_kernel", "gating", "kernels/routing/rows.cuh",
          "a.expert < b.expert", "a.expert > b.expert"),
    Fault("expert and logit of different lanes", "gating_forward_kernel", "gating", "kernels/routing/rows.cuh",
          "__shfl_xor_sync(~0u, best.expert, offset)", "__shfl_xor_sync(~0u, best.expert, 1)"),
    Fault("the noise of the next logit", "gating_forward_kernel", "gating", "kernels/routing/rows.cuh",
          "random_normal(resolved(noise.rng), static_cast<uint64_t>(i))", "random_normal(resolved(noise.rng), static_cast<uint64_t>(i + 1))"),
    Fault("a group without a token works on one", "gating_forward_kernel", "gating", in_folder("gating"),
          "at.token < s.tokens ? E : 0", "at.token <= s.tokens ? E : 0"),
    Fault("gates relative to the last choice, not to the first", "gating_forward_kernel", "gating", in_folder("gating"),
          "if (j == 0) top = choice.h;", "top = choice.h;"),
    Fault("sums in shared memory do not begin at 0", "balance_loss_forward_kernel", "balance_loss",
          "kernels/routing/expert_sums.cuh", "e += threads) sums[e] = 0;", "e += threads) sums[e] += 0;"),
    Fault("rows are overwritten while others read them", "balance_loss_forward_kernel", "balance_loss",
          "kernels/routing/expert_sums.cuh", "(rows[n * width + e]);\n    __syncthreads();", "(rows[n * width + e]);"),
    Fault("the k-th choice is not among the chosen", "load_loss_forward_kernel", "load_loss", in_folder("load_loss"),
          "return !precedes(last, c);", "return precedes(c, last);"),
    Fault("a block sums the assignments of the next one too", "importance_kernel", "importance_loss",
          in_folder("importance_loss"), "end = begin + run < assignments ? begin + run : assignments", "end = assignments"),
    Fault("the tail of four reads behind the last token", "elementwise_kernel", "z_loss", in_folder("z_loss"),
          "      if (i + j >= tokens * experts) break;\n", ""),
]

ATTENTION = [
    Fault("no barrier before keys and values are replaced", "attention_forward_kernel", "attention",
          in_folder("attention"), "    __syncthreads();  // all have done with the tile before\n    load_rows<T,",
          "    load_rows<T,"),
    Fault("no barrier after keys and values are loaded", "attention_forward_kernel", "attention", in_folder("attention"),
          "memory->value);\n    __syncthreads();\n    float weight", "memory->value);\n    float weight"),
    Fault("no __syncwarp between weights and products", "attention_forward_kernel", "attention", in_folder("attention"),
          "    __syncwarp();\n#pragma unroll 2", "#pragma unroll 2"),
    Fault("queries see the key behind them", "attention_forward_kernel", "attention", in_folder("attention"),
          "if (j + c > i) weight[r][c]", "if (j + c > i + 1) weight[r][c]"),
    Fault("no causal mask", "attention_forward_kernel", "attention", in_folder("attention"),
          "if (j + c > i) weight[r][c]", "if (j + c >= positions) weight[r][c]"),
    Fault("the online softmax's sum is not rescaled", "attention_forward_kernel", "attention", in_folder("attention"),
          "total = total * rescale +", "total = total +"),
    Fault("the online softmax's output is not rescaled", "attention_forward_kernel", "attention", in_folder("attention"),
          "out[chunk][j] *= rescale;", "out[chunk][j] *= 1.0f;"),
    Fault("less shared memory than the kernel uses", "attention_forward_kernel", "attention", in_folder("attention"),
          "sizeof(ForwardMemory<T>), stream}", "offsetof(ForwardMemory<T>, weight) + 64, stream}"),
    Fault("new positions overwrite the first ones of the cache", "attention_append_kernel", "attention",
          in_folder("attention"), "(b * s.capacity + s.past + t)", "(b * s.capacity + t)"),
    Fault("dropout draws with queries and keys exchanged", "attention_forward_kernel", "attention",
          in_folder("attention", "tiles.cuh"), "(head * positions + i) * positions + key)",
          "(head * positions + key) * positions + i)"),
    Fault("the row behind the last position is loaded", "attention_forward_kernel", "attention",
          in_folder("attention", "tiles.cuh"), "first + r < h.end ?", "first + r <= h.end ?"),
    Fault("the walk begins one tile of queries late", "attention_backward_kernel", "attention",
          in_folder("attention", "attention_backward_cuda.cu"), "i0 = tile / T::kQueries * T::kQueries;",
          "i0 = (tile / T::kQueries + 1) * T::kQueries;"),
    Fault("no barrier before all warps read the scores", "attention_backward_kernel", "attention",
          in_folder("attention", "attention_backward_cuda.cu"), "memory->ds);\n    __syncthreads();\n#pragma unroll 4",
          "memory->ds);\n#pragma unroll 4"),
    Fault("no __syncwarp between a warp's scores and dq", "attention_backward_kernel", "attention",
          in_folder("attention", "attention_backward_cuda.cu"), "memory->ds);\n    __syncwarp();", "memory->ds);"),
    Fault("delta of queries behind the last position", "attention_backward_kernel", "attention",
          in_folder("attention", "attention_backward_cuda.cu"), "c = lane.x; i + r < rows.y.end && c", "c = lane.x; c"),
]

PRODUCTS = [
    Fault("no barrier between storing a slice and multiplying it", "grouped_linear_forward_kernel", "grouped_linear",
          "kernels/tiles.cuh", "    __syncthreads();\n    if (step + kStep < inner)", "    if (step + kStep < inner)"),
    Fault("one buffer for two slices", "grouped_linear_forward_kernel", "grouped_linear", "kernels/tiles.cuh",
          "step += kStep, use ^= 1)", "step += kStep)"),
    Fault("one row more than the expert has", "grouped_linear_backward_kernel", "grouped_linear", "kernels/tile_operands.cuh",
          "const bool exists = l < inner_;", "const bool exists = l <= inner_;"),
    Fault("relu passes the gradient at 0", "grouped_linear_backward_kernel", "grouped_linear",
          in_folder("grouped_linear"), "return y > 0.0f ? dy : 0.0f;", "return y >= 0.0f ? dy : 0.0f;"),
    Fault("no barrier before slices become the tile of results", "grouped_linear_forward_kernel", "grouped_linear",
          "kernels/tiles.cuh", "  __syncthreads();  // all have done with the slices, which lie in the same memory\n", ""),
    Fault("two fragments of ldmatrix exchanged", "grouped_linear_forward_kernel", "grouped_linear", "kernels/tiles.cuh",
          "at.column + 8 * n + r + upper, odd, right", "at.column + 8 * n + r + odd, upper, right"),
    Fault("the last tile of an expert that is not full is dropped", "grouped_linear_forward_kernel", "grouped_linear",
          in_folder("grouped_linear"), "(end - begin + kSide - 1) / kSide", "(end - begin) / kSide"),
    Fault("the last row of a tile is left out", "grouped_linear_forward_kernel", "grouped_linear",
          "kernels/tiles.cuh", "if (y + i < rows &&", "if (y + i + 1 < rows &&"),
    Fault("every expert adds the first one's bias", "grouped_linear_forward_kernel", "grouped_linear",
          in_folder("grouped_linear"), "load4(f.bias + tile.expert * s.out + m + column", "load4(f.bias + m + column"),
    Fault("cuBLAS works on the default stream", "cublasSgemm", "linear", "kernels/gemm/gemm_cublas.cpp",
          "set_stream(handle_, stream)", "set_stream(handle_, nullptr)"),
]

ROWS = [
    Fault("lanes' sums are added without a common maximum", "cross_entropy_forward_kernel", "cross_entropy",
          in_folder("cross_entropy"), "mine.sum * expf(difference(mine.most, most))", "mine.sum"),
    Fault("only every fourth target is subtracted", "cross_entropy_backward_kernel", "cross_entropy",
          in_folder("cross_entropy"), "if (v + j == target)", "if (v == target && j == 0)"),
    Fault("all lanes write the row's loss", "cross_entropy_forward_kernel", "cross_entropy", in_folder("cross_entropy"),
          "  if (lane != 0) return;\n", ""),
    Fault("no barrier before the warps' sums are added up", "layer_norm_backward_kernel", "layer_norm",
          in_folder("layer_norm", "layer_norm.cuh"), "  __syncthreads();\n  const int dim =", "  const int dim ="),
    Fault("columns that do not exist count for the variance", "layer_norm_forward_kernel", "layer_norm",
          in_folder("layer_norm", "layer_norm.cuh"), "if (j < left) squares +=", "squares +="),
    Fault("one thread more than there are sums", "add_partial_kernel", "layer_norm",
          in_folder("layer_norm", "layer_norm.cuh"), "if (warp > 0 || i >= 2 * dim", "if (warp > 0 || i > 2 * dim"),
    Fault("the last run is not cut at the last row", "layer_norm_backward_kernel", "layer_norm",
          in_folder("layer_norm", "layer_norm.cuh"), "end = begin + run < a.s.rows ? begin + run : a.s.rows",
          "end = begin + run"),
]

FAULTS = SHARED_CODE + POINTWISE + MOVING_DATA + DISPATCH + ROUTER + ATTENTION + PRODUCTS + ROWS
