// The whole system on one state folder: store, sources, model, assistant and server, put together from options.
//
// Ownership: an Instance owns everything it opens, in the order in which it must be closed; one process a folder. Thread
// safety: not thread-safe; `wait` may be ended by its stop token.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "cli/live_parts.h"
#include "infer/engine.h"
#include "live/sources/config.h"
#include "server/server.h"

namespace fathom::cli {

struct InstanceOptions {
  std::filesystem::path state;
  std::string model =
      "auto";  // a GGUF file or Hugging Face folder, "auto" (the newest in STATE/models) or "none"
  std::string embedding_model = "auto";  // the same, of those that make embeddings
  size_t threads = 0;                    // of the models; 0: one a core
  infer::EngineOptions engine;
  /// "none", "auto" (what sources.toml says; when that says nothing, Hacker News or the sample world), "world", or a source as
  /// live::parse_source reads it.
  std::vector<std::string> sources = {"auto"};
  bool sources_file = false;  // read those of STATE/sources.toml too, and what becomes of them
  LiveOptions live;
  std::filesystem::path scenarios;  // of the sample world
  std::string hackernews_api;       // empty: the official one
  server::ServerOptions server;
  bool announce = true;  // say on standard output where the page is, and record it in the state folder
};

class Instance {
 public:
  explicit Instance(const InstanceOptions& options);
  ~Instance();
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;

  /// Opens, loads, listens and serves in the background. Errors: those of the parts.
  void start();
  /// Returns when `stop` is requested, or the instance is to be started anew, and nothing is served any more.
  void wait(const std::stop_token& stop);
  /// After `wait`: what an instance on the same address is to be made from when this one has gone; empty: the end.
  std::optional<InstanceOptions> next() const;
  std::string url() const;

 private:
  struct Parts;
  void make_setup_parts(bool fiction, const live::SourceContext& context);
  void restart(std::vector<std::string> sources);

  InstanceOptions options_;
  std::unique_ptr<Parts> parts_;
};

/// GGUF files and Hugging Face folders in STATE/models, newest first.
std::vector<std::filesystem::path> find_models(const std::filesystem::path& state);

/// STATE/sources.toml, see live/sources/config.h.
std::filesystem::path sources_file(const std::filesystem::path& state);

/// The scenario files that came with the program.
std::filesystem::path default_scenarios();

}  // namespace fathom::cli
