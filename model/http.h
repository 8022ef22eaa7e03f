#pragma once
// Requests to a web server that may be dead, slow or lying. The only file that knows libcurl is
// model/http_curl.cpp; without libcurl, model/http_none.cpp takes its place.

#include <filesystem>
#include <memory>
#include <string>

#include "core/error.h"

namespace moe {

struct HttpServer {
  std::string url;                    // http[s]://[user:password@]host[:port][/prefix]
  std::string user, password, token;  // a token comes first; what the URL says of a user comes last
  bool verify_tls = true;
  std::string certificates;  // file of those who vouch for the server; empty: the system's
};

// What a server may take its time for. A request ends `seconds` after its start; that of a file does not, as
// long as the file moves by at least a kilobyte a second.
struct HttpLimits {
  double connect_seconds = 5;
  double seconds = 30;
  size_t reply_bytes = size_t{4} << 20;
};

struct HttpReply {
  long status = 0;
  std::string body;
  std::string redirect;  // where a reply of status 3xx points to; it is never followed
};

// Whether this build has a client at all.
extern const bool kWithHttp;

class HttpClient {
 public:
  // Throws ErrorKind::usage for what is no URL of http or https, and when this build has no client.
  explicit HttpClient(const HttpServer&, HttpLimits = {});
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // The server's URL without user, password and closing slash.
  const std::string& url() const;

  // Each throws ErrorKind::runtime, naming the URL, when no whole reply came within the limits. `path` begins
  // with a slash and is appended to the server's URL. One thread at a time may call these.
  HttpReply get(const std::string& path);
  HttpReply post_json(const std::string& path, const std::string& json);
  // Sends the file as it is when the request starts. Throws ErrorKind::data when it cannot be read.
  HttpReply put_file(const std::string& path, const std::filesystem::path& file);

  // The request under way ends with an error within about a second, later ones at once. From any thread.
  void cancel();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The text with everything escaped that has a meaning in a URL, slashes too.
std::string url_escape(std::string_view text);

}  // namespace moe
