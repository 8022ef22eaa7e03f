#pragma once
// A library of the system that is loaded when it is first needed: a program that never asks for it starts
// faster, is smaller in memory, and runs on machines without it.

#include <initializer_list>
#include <string>

namespace moe {

class SharedLibrary {
 public:
  // Takes the first of these that can be loaded: names, which are looked for where the system keeps
  // libraries, or paths. Never unloaded, since threads of it may end after all else. Throws
  // ErrorKind::resource, with the system's words, when there is none; messages begin with `title`.
  SharedLibrary(std::string title, std::initializer_list<std::string> files);

  // Throws ErrorKind::resource when the library has no such function. To be called with its type, as in
  // library.function<decltype(curl_easy_init)>("curl_easy_init").
  template <class Function>
  Function* function(const char* name) const {
    return reinterpret_cast<Function*>(find(name));
  }

 private:
  void* find(const char* name) const;

  std::string title_;
  void* handle_ = nullptr;
};

}  // namespace moe
