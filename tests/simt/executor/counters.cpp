#include "counters.h"

namespace simt {

Counters& counters() {
  static Counters c;
  return c;
}

}  // namespace simt
