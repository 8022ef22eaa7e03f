#pragma once
// Is a page or picture well-formed XML? Knows what ours consist of: elements, attributes in double quotes,
// text, and in HTML <style> and <script>, whose content is not markup.

#include <string>
#include <string_view>
#include <vector>

// Empty, or what is wrong first.
inline std::string markup_fault(std::string_view text, bool html) {
  std::vector<std::string> open;
  const auto word_end = [&](size_t at) { return text.find_first_of(" \n/>=", at); };
  const auto fault = [&](size_t at, const std::string& what) {
    return what + " at ..." + std::string(text.substr(at > 30 ? at - 30 : 0, 80));
  };
  const auto bad_entity = [&](std::string_view part) {
    for (size_t at = part.find('&'); at != std::string_view::npos; at = part.find('&', at + 1)) {
      const std::string_view name = part.substr(at + 1, part.substr(at + 1, 8).find(';'));
      if (name != "amp" && name != "lt" && name != "gt" && name != "quot" && name != "#39" && name != "#13")
        return true;
    }
    return false;
  };
  size_t at = 0;
  for (const std::string_view start : {"<!DOCTYPE html>\n", "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"})
    if (text.starts_with(start)) at = start.size();
  while (at < text.size()) {
    if (text[at] != '<') {
      const size_t end = std::min(text.find('<', at), text.size());
      if (text.substr(at, end - at).find('>') != std::string_view::npos) return fault(at, "a stray >");
      if (bad_entity(text.substr(at, end - at))) return fault(at, "a stray &");
      at = end;
      continue;
    }
    if (text.substr(at, 2) == "</") {
      const size_t end = text.find('>', at);
      const std::string name(text.substr(at + 2, end - at - 2));
      if (open.empty() || open.back() != name) return fault(at, "</" + name + "> closes something else");
      open.pop_back();
      at = end + 1;
      continue;
    }
    size_t next = word_end(at + 1);
    const std::string name(text.substr(at + 1, next - at - 1));
    if (name.empty()) return fault(at, "a stray <");
    std::vector<std::string> seen;
    while (next < text.size() && text[next] == ' ') {
      const size_t equals = text.find('=', next);
      const std::string attribute(text.substr(next + 1, equals - next - 1));
      const size_t quote = equals + 1, end = text.find('"', quote + 1);
      if (equals == std::string_view::npos || text[quote] != '"' || end == std::string_view::npos ||
          attribute.find_first_of(" <>\"&") != std::string::npos)
        return fault(next, "a broken attribute");
      const std::string_view value = text.substr(quote + 1, end - quote - 1);
      if (value.find('<') != std::string_view::npos || bad_entity(value))
        return fault(quote, "a broken value");
      for (const std::string& other : seen)
        if (other == attribute) return fault(next, attribute + " twice");
      seen.push_back(attribute);
      next = end + 1;
    }
    if (text.substr(next, 2) == "/>") {
      at = next + 2;
      continue;
    }
    if (next >= text.size() || text[next] != '>') return fault(at, "a broken tag");
    at = next + 1;
    if (html && (name == "style" || name == "script")) {
      const size_t end = text.find("</" + name + ">", at);
      if (end == std::string_view::npos) return fault(at, name + " does not end");
      at = end + name.size() + 3;
      continue;
    }
    open.push_back(name);
  }
  return open.empty() ? "" : open.back() + " is never closed";
}
