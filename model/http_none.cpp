// Stands in for model/http_curl.cpp in a build without libcurl.

#include "model/http.h"

namespace moe {

const bool kWithHttp = false;

struct HttpClient::State {};

HttpClient::HttpClient(const HttpServer&, HttpLimits) {
  throw error(ErrorKind::usage,
              "this build cannot talk to a server, since libcurl was not there when it was configured; "
              "install libcurl4-openssl-dev and configure again");
}
HttpClient::~HttpClient() = default;

namespace {
[[noreturn]] void unreachable() {
  throw error(ErrorKind::runtime, "there is no HTTP client in this build");
}
}  // namespace

const std::string& HttpClient::url() const {
  unreachable();
}
HttpReply HttpClient::get(const std::string&) {
  unreachable();
}
HttpReply HttpClient::post_json(const std::string&, const std::string&) {
  unreachable();
}
HttpReply HttpClient::put_file(const std::string&, const std::filesystem::path&) {
  unreachable();
}
void HttpClient::cancel() {}

}  // namespace moe
