#include "model/hub.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/text.h"
#include "model/shown.h"

namespace fathom::model {
namespace {

using nlohmann::json;

constexpr size_t kMostFiles = 100'000;
constexpr size_t kMostListing = size_t{64} << 20;
constexpr size_t kMostName = 96;
constexpr uint64_t kMostBytes = uint64_t{1} << 50;
constexpr int kMostMoves = 5;
constexpr int kDeepest = 64;

// What is taken of several GGUF files, the best compromise first.
constexpr std::string_view kPreferred[] = {
    "Q4_K_M", "Q4_K_S", "Q5_K_M", "Q4_K", "Q5_K_S", "Q4_1", "Q4_0",   "IQ4_XS", "IQ4_NL", "Q6_K", "Q8_0",
    "Q5_K",   "Q5_1",   "Q5_0",   "BF16", "F16",    "F32",  "Q3_K_M", "Q3_K_L", "Q3_K_S", "Q2_K"};

// What belongs to safetensors, where it is there.
constexpr std::string_view kCompanions[] = {"config.json",
                                            "generation_config.json",
                                            "tokenizer.json",
                                            "tokenizer_config.json",
                                            "tokenizer.model",
                                            "special_tokens_map.json",
                                            "added_tokens.json",
                                            "chat_template.jinja",
                                            "chat_template.json",
                                            "vocab.txt",
                                            "vocab.json",
                                            "merges.txt",
                                            "modules.json",
                                            "sentence_bert_config.json",
                                            "1_Pooling/config.json",
                                            "config_sentence_transformers.json"};

bool is_hex(std::string_view text, size_t size) {
  return text.size() == size && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool is_plain_name(std::string_view text) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  };
  return !text.empty() && text.size() <= kMostName && text.front() != '.' && text.front() != '-' &&
         text.find("..") == std::string_view::npos && std::all_of(text.begin(), text.end(), plain);
}

/// RFC 3986: everything but unreserved characters and, in paths, the slash.
std::string encoded(std::string_view text, bool slash_too) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.' || c == '~' || (c == '/' && !slash_too);
    if (plain)
      out += c;
    else
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

std::string lower_text(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? to_lower_ascii(found->get_ref<const std::string&>())
                                                     : "";
}

std::optional<uint64_t> size_of(const json& object) {
  const auto found = object.find("size");
  if (found == object.end() || !found->is_number_unsigned() || found->get<uint64_t>() > kMostBytes)
    return std::nullopt;
  return found->get<uint64_t>();
}

/// Without quotes, "W/" and in lower case.
std::string bare_etag(std::string_view value) {
  if (value.starts_with("W/")) value.remove_prefix(2);
  if (value.size() >= 2 && value.front() == '"' && value.back() == '"')
    value = value.substr(1, value.size() - 2);
  return to_lower_ascii(value);
}

std::string header(const HttpResponse& response, const char* name) {
  const auto found = response.headers.find(name);
  return found == response.headers.end() ? "" : found->second;
}

std::optional<uint64_t> parse_size(std::string_view text) {
  if (text.empty() || text.size() > 16 || text.find_first_not_of("0123456789") != std::string_view::npos)
    return std::nullopt;
  return std::stoull(std::string(text));
}

// ------------------------------------------------------------------ choosing

struct Group {
  std::string name;  // of the first file
  std::vector<HubFile> files;
};

/// "NAME" of "NAME-00002-of-00003.gguf"; the name itself where it is no part.
std::string stem_of(std::string_view name) {
  constexpr size_t kTail = std::string_view("-00001-of-00003.gguf").size();
  if (name.size() <= kTail) return std::string(name);
  const std::string_view tail = name.substr(name.size() - kTail);
  std::string form(tail);
  for (char& c : form)
    if (c >= '0' && c <= '9') c = '0';
  return form == "-00000-of-00000.gguf"
             ? std::string(name.substr(0, name.size() - kTail)) + std::string(tail.substr(6))
             : std::string(name);
}

bool is_gguf(const HubFile& file) { return to_lower_ascii(file.name).ends_with(".gguf"); }

/// Files in parts count as one. Projectors of vision models are no language models.
std::vector<Group> gguf_groups(const HubListing& listing) {
  std::map<std::string, Group> groups;
  for (const HubFile& file : listing.files) {
    if (!is_gguf(file) || to_lower_ascii(file.name).find("mmproj") != std::string::npos) continue;
    Group& group = groups[stem_of(file.name)];
    if (group.files.empty()) group.name = file.name;
    group.files.push_back(file);
  }
  std::vector<Group> out;
  for (auto& [stem, group] : groups) out.push_back(std::move(group));
  return out;
}

/// Whether a file's name says this format: "q4_k_m" as a word of "smol-q4_k_m.gguf" or "Q4_K_M/smol.gguf".
bool says(const Group& group, std::string_view format) {
  const std::string name = to_lower_ascii(group.name);
  const std::string wanted = to_lower_ascii(format);
  const auto within = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; };
  for (size_t at = name.find(wanted); at != std::string::npos; at = name.find(wanted, at + 1)) {
    const size_t end = at + wanted.size();
    if ((at == 0 || !within(name[at - 1])) && (end == name.size() || !within(name[end]))) return true;
  }
  return false;
}

std::vector<std::string> names_of(const std::vector<Group>& groups) {
  std::vector<std::string> names;
  for (const Group& group : groups) names.push_back(shown(group.name));
  return names;
}

[[noreturn]] void ambiguous(const std::vector<Group>& groups, const HubName& name) {
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("'{}' has several models; name one as {}:FILE, with FILE one of {}",
                          name.repository(), name.repository(), fmt::join(names_of(groups), ", ")));
}

std::vector<Group> of_format(const std::vector<Group>& groups, std::string_view format) {
  std::vector<Group> out;
  for (const Group& group : groups)
    if (says(group, format)) out.push_back(group);
  return out;
}

std::vector<HubFile> choose_named(const HubListing& listing, const std::vector<Group>& groups,
                                  const HubName& name) {
  for (const Group& group : groups)
    for (const HubFile& file : group.files)
      if (file.name == name.file) return group.files;
  for (const HubFile& file : listing.files)
    if (file.name == name.file) return {file};
  const auto matching = of_format(groups, name.file);
  if (matching.size() == 1) return matching[0].files;
  if (matching.size() > 1) ambiguous(matching, name);
  throw Error(ErrorCode::kNotFound,
              fmt::format("'{}' has no file '{}'{}{}", name.repository(), shown(name.file),
                          groups.empty() ? "" : "; it has ", fmt::join(names_of(groups), ", ")));
}

std::vector<HubFile> choose_safetensors(const HubListing& listing) {
  std::vector<HubFile> out;
  std::set<std::string_view> names;
  for (const HubFile& file : listing.files) names.insert(file.name);
  const bool whole = names.contains("model.safetensors");
  const bool parts = names.contains("model.safetensors.index.json");
  if (!names.contains("config.json") || (!whole && !parts)) return out;
  for (const HubFile& file : listing.files) {
    const bool weights = whole
                             ? file.name == "model.safetensors"
                             : file.name == "model.safetensors.index.json" ||
                                   (file.name.starts_with("model-") && file.name.ends_with(".safetensors") &&
                                    file.name.find('/') == std::string::npos);
    const bool companion =
        std::find(std::begin(kCompanions), std::end(kCompanions), file.name) != std::end(kCompanions);
    if (weights || companion) out.push_back(file);
  }
  return out;
}

}  // namespace

bool is_safe_path(std::string_view path) {
  if (path.empty() || path.size() > 512) return false;
  for (const std::string_view piece : split(path, '/'))
    if (piece.empty() || piece == "." || piece == ".." || piece.size() > 200) return false;
  return is_valid_utf8(path) && std::none_of(path.begin(), path.end(), [](char c) {
           return static_cast<unsigned char>(c) < 0x20 || c == '\x7f' || c == '\\' || c == ':';
         });
}

HubName parse_hub_name(std::string_view text) {
  const size_t slash = text.find('/');
  const size_t colon = text.find(':');
  HubName out;
  if (slash != std::string_view::npos && (colon == std::string_view::npos || colon > slash)) {
    out.owner = text.substr(0, slash);
    out.name = text.substr(slash + 1, colon == std::string_view::npos ? colon : colon - slash - 1);
    if (colon != std::string_view::npos) out.file = text.substr(colon + 1);
  }
  const bool named = is_plain_name(out.owner) && is_plain_name(out.name);
  const bool file = colon == std::string_view::npos ? out.file.empty() : is_safe_path(out.file);
  if (!named || !file)
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("'{}' is no OWNER/NAME or OWNER/NAME:FILE of a model", shown(text)));
  return out;
}

HubListing parse_listing(std::string_view text, const std::string& repository, const std::string& revision) {
  const auto corrupt = [&](const std::string& what) {
    throw Error(ErrorCode::kCorrupt,
                fmt::format("what the server says of '{}' {}; nothing is fetched from it", repository, what));
  };
  const auto shallow = [&](int depth, json::parse_event_t, json&) {
    if (depth > kDeepest) corrupt("is nested too deep");
    return true;
  };
  const json answer = json::parse(text, shallow, false);
  if (!answer.is_object()) corrupt("is not a JSON object");
  const auto files = answer.find("siblings");
  if (files == answer.end() || !files->is_array() || files->size() > kMostFiles) corrupt("lists no files");
  HubListing out;
  out.commit = lower_text(answer, "sha");
  if (!is_hex(out.commit, 40)) out.commit = revision;
  for (const json& entry : *files) {
    const auto name = entry.is_object() ? entry.find("rfilename") : entry.end();
    if (!entry.is_object() || name == entry.end() || !name->is_string()) corrupt("has a file without a name");
    HubFile file;
    file.name = name->get<std::string>();
    if (!is_safe_path(file.name))
      corrupt(fmt::format("has the file name '{}', which is no path inside a folder", shown(file.name)));
    file.size = size_of(entry);
    if (const std::string blob = lower_text(entry, "blobId"); is_hex(blob, 40)) file.git_sha1 = blob;
    if (const auto lfs = entry.find("lfs"); lfs != entry.end() && lfs->is_object()) {
      for (const char* key : {"oid", "sha256"})
        if (const std::string sum = lower_text(*lfs, key); is_hex(sum, 64)) file.sha256 = sum;
      if (const auto size = size_of(*lfs)) file.size = size;
      file.git_sha1.clear();  // of the pointer, not of the file
    }
    out.files.push_back(std::move(file));
  }
  return out;
}

std::vector<HubFile> choose_files(const HubListing& listing, const HubName& name) {
  const auto groups = gguf_groups(listing);
  if (!name.file.empty()) return choose_named(listing, groups, name);
  if (groups.size() == 1) return groups[0].files;
  for (const std::string_view format : kPreferred) {
    const auto matching = of_format(groups, format);
    if (matching.size() == 1) return matching[0].files;
    if (matching.size() > 1) ambiguous(matching, name);
  }
  if (!groups.empty()) ambiguous(groups, name);
  auto files = choose_safetensors(listing);
  if (!files.empty()) return files;
  throw Error(
      ErrorCode::kUnsupported,
      fmt::format(
          "'{}' has neither a GGUF file nor a config.json with safetensors, so no model that this build "
          "reads",
          name.repository()));
}

Hub::Hub(Transport& transport, std::string endpoint, std::string token)
    : transport_(transport), endpoint_(std::move(endpoint)), token_(std::move(token)) {
  while (endpoint_.ends_with('/')) endpoint_.pop_back();
  const Url url = parse_url(endpoint_);
  host_ = url.host;
  const bool loops_back =
      url.host.starts_with("127.") && url.host.find_first_not_of("0123456789.") == std::string::npos;
  const bool here = url.host == "localhost" || url.host == "::1" || loops_back;
  sends_token_ = !token_.empty() && (url.scheme == "https" || here);
}

HttpRequest Hub::plain_request(const std::string& url) const {
  HttpRequest request;
  request.url = url;
  request.timeout = std::chrono::seconds(30);
  request.max_bytes = kMostListing;
  if (sends_token_) request.headers["Authorization"] = "Bearer " + token_;
  return request;
}

HttpRequest Hub::request(const HubName& name, const std::string& commit, const std::string& file) const {
  return plain_request(fmt::format("{}/{}/resolve/{}/{}", endpoint_, name.repository(), encoded(commit, true),
                                   encoded(file, false)));
}

void Hub::refuse(const HttpResponse& response, const std::string& what) const {
  const std::string hint =
      token_.empty() ? "set HF_TOKEN if it needs one" : "the token in HF_TOKEN does not open it";
  switch (response.status) {
    case 401:
      throw Error(ErrorCode::kUnauthenticated,
                  fmt::format("{} shows no {} to you; it is not there or private: {}", host_, what, hint));
    case 403:
      throw Error(ErrorCode::kPermissionDenied,
                  fmt::format("{} refuses {}; its owner must let you in: {}", host_, what, hint));
    case 404: throw Error(ErrorCode::kNotFound, fmt::format("{} has no {}", host_, what));
    case 429:
      throw Error(ErrorCode::kResourceExhausted,
                  fmt::format("{} has had too many requests; try again later", host_));
    default:
      throw Error(ErrorCode::kNetwork,
                  fmt::format("{} answered with status {} when asked for {}", host_, response.status, what));
  }
}

HubListing Hub::list(const HubName& name, const std::string& revision, const std::stop_token& stop) {
  const std::string url = fmt::format("{}/api/models/{}/revision/{}?blobs=true", endpoint_, name.repository(),
                                      encoded(revision, true));
  const HttpResponse response = transport_.fetch(plain_request(url), stop);
  if (response.status != 200)
    refuse(response, fmt::format("model '{}' in revision '{}'", name.repository(), shown(revision)));
  return parse_listing(response.body, name.repository(), revision);
}

void Hub::complete(const HubName& name, const std::string& commit, HubFile& file,
                   const std::stop_token& stop) {
  if (file.size && (!file.sha256.empty() || !file.git_sha1.empty())) return;
  HttpRequest request = this->request(name, commit, file.name);
  request.method = "HEAD";
  request.follow_redirects = false;
  HttpResponse response;
  // The checksum stands in the answer of this host, before it sends on to where the bytes are; a repository that has moved
  // is followed, as long as it stays on this host.
  for (int moves = 0; moves <= kMostMoves; ++moves) {
    response = transport_.fetch(request, stop);
    const std::string location = header(response, "location");
    const bool moved = response.status >= 300 && response.status < 400 && location.starts_with('/') &&
                       !location.starts_with("//") && header(response, "x-linked-etag").empty();
    if (!moved) break;
    const Url url = parse_url(endpoint_);
    const std::string site = endpoint_.substr(0, endpoint_.find('/', url.scheme.size() + 3));
    request.url = site + location;
  }
  if (response.status >= 400)
    refuse(response, fmt::format("file '{}' of '{}'", file.name, name.repository()));
  const std::string linked = bare_etag(header(response, "x-linked-etag"));
  const std::string sum = linked.empty() ? bare_etag(header(response, "etag")) : linked;
  if (file.sha256.empty() && is_hex(sum, 64)) file.sha256 = sum;
  if (file.sha256.empty() && is_hex(sum, 40)) file.git_sha1 = sum;
  const std::string size = header(response, "x-linked-size");
  if (!file.size) file.size = parse_size(size.empty() ? header(response, "content-length") : size);
  if (!file.size || *file.size > kMostBytes || (file.sha256.empty() && file.git_sha1.empty()))
    throw Error(
        ErrorCode::kUnsupported,
        fmt::format("{} gives no size and checksum for '{}', so it could not be checked", host_, file.name));
}

}  // namespace fathom::model
