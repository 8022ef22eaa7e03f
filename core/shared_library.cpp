#include "core/shared_library.h"

#include <dlfcn.h>

#include <utility>

#include "core/error.h"

namespace moe {

SharedLibrary::SharedLibrary(std::string title, std::initializer_list<std::string> files)
    : title_(std::move(title)) {
  for (const std::string& file : files)
    if (!handle_) handle_ = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle_) throw error(ErrorKind::resource, "{}: {}", title_, dlerror());
}

void* SharedLibrary::find(const char* name) const {
  void* const found = dlsym(handle_, name);
  if (!found) throw error(ErrorKind::resource, "{}: {}", title_, dlerror());
  return found;
}

}  // namespace moe
