#include <curl/curl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <functional>
#include <utility>

#include "core/quote.h"
#include "core/shared_library.h"
#include "model/http.h"

namespace moe {

const bool kWithHttp = true;

namespace {

using Handle = std::unique_ptr<CURL, decltype(&curl_easy_cleanup)>;
using Headers = std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)>;
using Url = std::unique_ptr<CURLU, decltype(&curl_url_cleanup)>;
using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

constexpr long kSlowestUpload = 1000;  // bytes a second

// The functions that are used here.
struct Curl {
#ifdef MOE_LOAD_CURL
  // Loaded when the first client asks for it, since it brings some thirty libraries with it: from where the
  // system finds libraries, then from the file that this was compiled for.
  SharedLibrary library{"libcurl", {"libcurl.so.4", MOE_LOAD_CURL}};
#define FUNCTION(name) library.function<decltype(name)>(#name)
#else
#define FUNCTION(name) name
#endif
  decltype(&curl_global_init) global_init = FUNCTION(curl_global_init);
  decltype(&curl_easy_init) easy_init = FUNCTION(curl_easy_init);
  decltype(&curl_easy_cleanup) easy_cleanup = FUNCTION(curl_easy_cleanup);
  decltype(&curl_easy_reset) easy_reset = FUNCTION(curl_easy_reset);
  decltype(&curl_easy_setopt) easy_setopt = FUNCTION(curl_easy_setopt);
  decltype(&curl_easy_perform) easy_perform = FUNCTION(curl_easy_perform);
  decltype(&curl_easy_getinfo) easy_getinfo = FUNCTION(curl_easy_getinfo);
  decltype(&curl_easy_strerror) easy_strerror = FUNCTION(curl_easy_strerror);
  decltype(&curl_slist_append) slist_append = FUNCTION(curl_slist_append);
  decltype(&curl_slist_free_all) slist_free_all = FUNCTION(curl_slist_free_all);
  decltype(&curl_url) url = FUNCTION(curl_url);
  decltype(&curl_url_cleanup) url_cleanup = FUNCTION(curl_url_cleanup);
  decltype(&curl_url_get) url_get = FUNCTION(curl_url_get);
  decltype(&curl_url_set) url_set = FUNCTION(curl_url_set);
  decltype(&curl_free) free = FUNCTION(curl_free);
#undef FUNCTION
};

const Curl& curl() {
  static const Curl loaded{};
  return loaded;
}

void start_library() {
  static const CURLcode code = curl().global_init(CURL_GLOBAL_DEFAULT);
  if (code != CURLE_OK) throw error(ErrorKind::runtime, "libcurl: {}", curl().easy_strerror(code));
}

std::string part_of(CURLU* url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl().url_get(url, part, &text, flags) != CURLUE_OK) return "";
  std::string copy = text;
  curl().free(text);
  return copy;
}

// Takes the user and the password out of the URL.
HttpServer resolve(HttpServer server) {
  const Url url(curl().url(), curl().url_cleanup);
  const bool known = curl().url_set(url.get(), CURLUPART_URL, server.url.c_str(), 0) == CURLUE_OK;
  const std::string scheme = part_of(url.get(), CURLUPART_SCHEME);
  if (!known || (scheme != "http" && scheme != "https"))
    throw error(ErrorKind::usage, "{} is no server: its address must be like http://host:5000",
                in_quotes(server.url));
  if (server.user.empty()) {
    server.user = part_of(url.get(), CURLUPART_USER, CURLU_URLDECODE);
    server.password = part_of(url.get(), CURLUPART_PASSWORD, CURLU_URLDECODE);
  }
  for (const CURLUPart part : {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_QUERY, CURLUPART_FRAGMENT})
    curl().url_set(url.get(), part, nullptr, 0);
  server.url = part_of(url.get(), CURLUPART_URL);
  while (server.url.ends_with('/')) server.url.pop_back();
  return server;
}

struct Answer {
  std::string body;
  size_t limit;
};

size_t on_body(char* data, size_t, size_t size, void* user) {
  auto& answer = *static_cast<Answer*>(user);
  if (answer.body.size() + size > answer.limit) return 0;
  answer.body.append(data, size);
  return size;
}

size_t on_read(char* data, size_t, size_t size, void* user) {
  auto* file = static_cast<std::FILE*>(user);
  const size_t n = std::fread(data, 1, size, file);
  return std::ferror(file) ? CURL_READFUNC_ABORT : n;
}

int on_progress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<const std::atomic<bool>*>(user)->load() ? 1 : 0;
}

long milliseconds(double seconds) {
  return static_cast<long>(seconds * 1000);
}

}  // namespace

struct HttpClient::State {
  HttpServer server;
  HttpLimits limits;
  Handle handle{nullptr, curl().easy_cleanup};  // keeps the connection between requests
  std::atomic<bool> cancelled = false;

  HttpReply perform(const char* method, const std::string& path,
                    const std::function<void(CURL*)>& set_options);
  void set_common_options(const std::string& url, Answer& answer, char* message);
  [[noreturn]] void fail(const std::string& what, CURLcode code, const char* message) const;
};

void HttpClient::State::set_common_options(const std::string& url, Answer& answer, char* message) {
  CURL* h = handle.get();
  curl().easy_reset(h);
  curl().easy_setopt(h, CURLOPT_URL, url.c_str());
  curl().easy_setopt(h, CURLOPT_ERRORBUFFER, message);
  curl().easy_setopt(h, CURLOPT_USERAGENT, "makemoe");
  curl().easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
  curl().easy_setopt(h, CURLOPT_WRITEFUNCTION, &on_body);
  curl().easy_setopt(h, CURLOPT_WRITEDATA, &answer);
  curl().easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
  curl().easy_setopt(h, CURLOPT_XFERINFOFUNCTION, &on_progress);
  curl().easy_setopt(h, CURLOPT_XFERINFODATA, &cancelled);
  curl().easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, milliseconds(limits.connect_seconds));
#if LIBCURL_VERSION_NUM >= 0x075700
  // Cancelling does not wait for a name server that does not answer.
  curl().easy_setopt(h, CURLOPT_QUICK_EXIT, 1L);
#endif
  if (!server.verify_tls) {
    curl().easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 0L);
    curl().easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 0L);
  }
  if (!server.certificates.empty()) curl().easy_setopt(h, CURLOPT_CAINFO, server.certificates.c_str());
  if (!server.token.empty()) {
    curl().easy_setopt(h, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
    curl().easy_setopt(h, CURLOPT_XOAUTH2_BEARER, server.token.c_str());
  } else if (!server.user.empty()) {
    curl().easy_setopt(h, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
    curl().easy_setopt(h, CURLOPT_USERNAME, server.user.c_str());
    curl().easy_setopt(h, CURLOPT_PASSWORD, server.password.c_str());
  }
}

void HttpClient::State::fail(const std::string& what, CURLcode code, const char* message) const {
  if (code == CURLE_WRITE_ERROR)
    throw error(ErrorKind::runtime, "{}: the reply is longer than {} bytes", what, limits.reply_bytes);
  if (code == CURLE_ABORTED_BY_CALLBACK) throw error(ErrorKind::runtime, "{}: given up", what);
  throw error(ErrorKind::runtime, "{}: {}", what, *message ? message : curl().easy_strerror(code));
}

HttpReply HttpClient::State::perform(const char* method, const std::string& path,
                                     const std::function<void(CURL*)>& set_options) {
  const std::string url = server.url + path, what = fmt::format("{} {}", method, url);
  std::array<char, CURL_ERROR_SIZE> message{};
  Answer answer{"", limits.reply_bytes};
  set_common_options(url, answer, message.data());
  set_options(handle.get());
  const CURLcode code = curl().easy_perform(handle.get());
  if (code != CURLE_OK) fail(what, code, message.data());
  HttpReply reply;
  reply.body = std::move(answer.body);
  curl().easy_getinfo(handle.get(), CURLINFO_RESPONSE_CODE, &reply.status);
  const char* redirect = nullptr;
  curl().easy_getinfo(handle.get(), CURLINFO_REDIRECT_URL, &redirect);
  if (redirect) reply.redirect = redirect;
  return reply;
}

HttpClient::HttpClient(const HttpServer& server, HttpLimits limits) : state_(std::make_unique<State>()) {
  start_library();
  state_->server = resolve(server);
  state_->limits = limits;
  state_->handle.reset(curl().easy_init());
  if (!state_->handle) throw error(ErrorKind::resource, "libcurl: out of memory");
}

HttpClient::~HttpClient() = default;

const std::string& HttpClient::url() const {
  return state_->server.url;
}

void HttpClient::cancel() {
  state_->cancelled = true;
}

HttpReply HttpClient::get(const std::string& path) {
  return state_->perform("GET", path, [&](CURL* h) {
    curl().easy_setopt(h, CURLOPT_TIMEOUT_MS, milliseconds(state_->limits.seconds));
  });
}

HttpReply HttpClient::post_json(const std::string& path, const std::string& json) {
  const Headers headers(curl().slist_append(nullptr, "Content-Type: application/json"),
                        curl().slist_free_all);
  return state_->perform("POST", path, [&](CURL* h) {
    curl().easy_setopt(h, CURLOPT_TIMEOUT_MS, milliseconds(state_->limits.seconds));
    curl().easy_setopt(h, CURLOPT_HTTPHEADER, headers.get());
    curl().easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(json.size()));
    curl().easy_setopt(h, CURLOPT_POSTFIELDS, json.data());
  });
}

HttpReply HttpClient::put_file(const std::string& path, const std::filesystem::path& file) {
  const File input(std::fopen(file.c_str(), "rbe"), &std::fclose);
  struct stat status {};
  if (!input || ::fstat(::fileno(input.get()), &status) != 0 || !S_ISREG(status.st_mode))
    throw error(ErrorKind::data, "cannot read {}", file.string());
  // Without the empty Expect, curl waits a second for servers that do not know "100 Continue".
  const Headers headers(curl().slist_append(nullptr, "Expect:"), curl().slist_free_all);
  return state_->perform("PUT", path, [&](CURL* h) {
    curl().easy_setopt(h, CURLOPT_UPLOAD, 1L);
    curl().easy_setopt(h, CURLOPT_HTTPHEADER, headers.get());
    curl().easy_setopt(h, CURLOPT_READFUNCTION, &on_read);
    curl().easy_setopt(h, CURLOPT_READDATA, input.get());
    curl().easy_setopt(h, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(status.st_size));
    curl().easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, kSlowestUpload);
    curl().easy_setopt(h, CURLOPT_LOW_SPEED_TIME, std::max(1L, milliseconds(state_->limits.seconds) / 1000));
  });
}

}  // namespace moe
