#include "core/comm.h"

namespace moe {

void LocalComm::all_to_all(const Tensor& send, std::span<const int64_t> send_rows, const Tensor& receive,
                           std::span<const int64_t> receive_rows) {
  require(send_rows.size() == 1 && receive_rows.size() == 1 && send_rows[0] == receive_rows[0],
          "all_to_all: a group of one process exchanges rows with itself only");
  receive.rows(0, receive_rows[0]).copy_from(send.rows(0, send_rows[0]));
}

void LocalComm::broadcast(const Tensor&, int root) {
  require(root == 0, "broadcast: root {} in a group of one process", root);
}

}  // namespace moe
