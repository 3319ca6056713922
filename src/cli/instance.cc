#include "cli/instance.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "answer/assistant.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/client.h"
#include "cluster/planner.h"
#include "live/source.h"
#include "live/sources/file_source.h"
#include "live/sources/hackernews.h"
#include "live/world.h"
#include "model/inspect.h"

namespace fathom::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr auto kProbe = std::chrono::milliseconds(2500);

// The sample world's day: what happened before this hour is there at once, the rest comes a few posts a second.
constexpr std::string_view kWorldLead = "18h";
constexpr std::string_view kWorldPace = "2/s";

/// What a `--source` asks for, once "auto" has been settled.
struct Feed {
  std::vector<std::unique_ptr<live::Source>> sources;
  bool fiction = false;
};

std::unique_ptr<live::Source> make_world_source(const InstanceOptions& options, const Clock& clock) {
  const fs::path folder = options.state / "world";
  const fs::path posts = folder / "posts.ndjson";
  if (!fs::exists(posts)) {
    live::WorldOptions world;
    world.scenarios = options.scenarios.empty() ? default_scenarios() : options.scenarios;
    fs::create_directories(folder);
    live::write_world(live::generate_world(world), folder);
  }
  live::FileSourceOptions file;
  file.path = posts.string();
  file.name = "world";
  file.default_source = "world";
  live::parse_lead(kWorldLead, file);
  live::parse_pace(kWorldPace, file);
  return live::make_file_source(file, clock);
}

/// "PATH[,pace=P][,lead=L][,name=N]"; "rate=N" and "at-once" are short for a pace.
std::unique_ptr<live::Source> make_file(std::string_view spec, size_t index, const Clock& clock) {
  live::FileSourceOptions file;
  const auto parts = split(spec, ',');
  file.path = std::string(parts.front());
  file.name = index == 0 ? "file" : fmt::format("file{}", index + 1);
  for (size_t i = 1; i < parts.size(); ++i) {
    const std::string_view part = parts[i];
    const size_t equals = part.find('=');
    const std::string_view key = part.substr(0, equals);
    const std::string_view value = equals == std::string_view::npos ? "" : part.substr(equals + 1);
    if (key == "at-once" && value.empty()) {
      live::parse_pace("at-once", file);
    } else if (key == "rate") {
      live::parse_pace(fmt::format("{}/s", value), file);
    } else if (key == "pace") {
      live::parse_pace(value, file);
    } else if (key == "lead") {
      live::parse_lead(value, file);
    } else if (key == "name") {
      file.name = std::string(value);
    } else {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("--source file:{}: '{}' is not pace=, rate=, at-once, lead= or name=",
                              parts.front(), part));
    }
  }
  return live::make_file_source(file, clock);
}

Feed make_feed(const InstanceOptions& options, Transport& transport, const Clock& clock) {
  live::HackerNewsOptions hackernews;
  if (!options.hackernews_api.empty()) hackernews.api_url = options.hackernews_api;
  Feed feed;
  size_t files = 0;
  for (std::string spec : options.sources) {
    if (spec == "auto")
      spec = live::hackernews_reachable(hackernews, transport, kProbe) ? "hackernews" : "world";
    if (spec == "hackernews") {
      feed.sources.push_back(live::make_hackernews_source(hackernews, transport, clock));
    } else if (spec == "world") {
      feed.sources.push_back(make_world_source(options, clock));
      feed.fiction = true;
    } else if (spec.starts_with("file:")) {
      feed.sources.push_back(make_file(std::string_view(spec).substr(5), files++, clock));
    } else if (spec != "none") {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("--source '{}' is not one of auto, hackernews, world, file:PATH, none", spec));
    }
  }
  if (feed.fiction && feed.sources.size() > 1)
    throw Error(ErrorCode::kInvalidArgument,
                "--source world stands alone: fiction and real posts are never searched together");
  return feed;
}

/// For people: what the feed is.
std::string describe(const Feed& feed) {
  if (feed.fiction) return "the sample world, replayed (fiction)";
  std::string names;
  for (const auto& source : feed.sources)
    names += fmt::format("{}{}", names.empty() ? "" : ", ", source->name());
  return names.empty() ? "none; post to /v1/posts" : names;
}

/// What the file serves ("text", "embeddings"); empty for one that cannot be read.
std::string served_by(const fs::path& path) {
  try {
    const model::Inspection found = model::inspect(path);
    if (found.serves.empty()) log().warn("{}: {}", path.string(), found.problem);
    return found.serves;
  } catch (const Error& error) {
    log().warn("{}", error.what());
    return {};
  }
}

/// The model that `wanted` names, or nothing: "auto" takes the newest that serves `purpose` and never fails, one that was
/// named does.
template <class Load>
auto load_one(const InstanceOptions& options, const std::string& wanted, std::string_view purpose, Load load)
    -> decltype(load(fs::path())) {
  if (wanted == "none") return nullptr;
  if (wanted != "auto") return load(wanted);
  for (const fs::path& path : find_models(options.state)) {
    if (served_by(path) != purpose) continue;
    try {
      return load(path);
    } catch (const Error& error) {
      log().warn("{}", error.what());
    }
  }
  return nullptr;
}

std::unique_ptr<infer::Engine> load_model(const InstanceOptions& options, ThreadPool& pool) {
  return load_one(options, options.model, "text",
                  [&](const fs::path& path) { return infer::Engine::load(path, options.engine, pool); });
}

std::unique_ptr<infer::Embedder> load_embedder(const InstanceOptions& options, ThreadPool& pool) {
  return load_one(options, options.embedding_model, "embeddings",
                  [&](const fs::path& path) { return infer::Embedder::load(path, pool); });
}

/// Null, with a line in the log, where its files cannot be read: people may still ask.
std::unique_ptr<cluster::Planner> load_planner(ThreadPool& pool) {
  try {
    return std::make_unique<cluster::Planner>(FATHOM_DATA_DIR, std::vector<fs::path>{}, pool);
  } catch (const Error& error) {
    log().warn("the page /plan is left out: {}", error.what());
    return nullptr;
  }
}

json to_json(const live::SourceStatus& status) {
  json out = {{"name", status.name},
              {"state", live::to_string(status.state)},
              {"posts", status.posts},
              {"rejected", status.rejected},
              {"per_second", status.per_second},
              {"last_error", status.last_error}};
  if (status.lag_seconds) out["lag_seconds"] = *status.lag_seconds;
  if (status.last_post) out["last_post"] = format_time(*status.last_post);
  if (status.retry_in) out["retry_in_seconds"] = static_cast<double>(status.retry_in->count()) / 1000;
  if (!status.rejections.empty()) out["rejections"] = status.rejections;
  return out;
}

}  // namespace

/// In the order of opening; closed from the last to the first.
struct Instance::Parts {
  SystemClock clock;
  std::unique_ptr<Transport> transport = make_transport();
  std::unique_ptr<live::Store> store;
  std::unique_ptr<live::CursorStore> cursors;
  std::optional<ThreadPool> pool;
  std::unique_ptr<infer::Engine> engine;
  std::unique_ptr<infer::Embedder> embedder;
  std::unique_ptr<answer::Assistant> assistant;
  std::optional<ThreadPool> planning_pool;
  std::unique_ptr<cluster::Planner> planner;
  std::optional<live::SourceRunner> runner;
  std::unique_ptr<server::Server> server;
  std::jthread serving;
  bool recorded = false;
};

Instance::Instance(const InstanceOptions& options) : options_(options), parts_(std::make_unique<Parts>()) {}

Instance::~Instance() {
  if (parts_->recorded) {
    std::error_code ignored;
    fs::remove(server_file(options_.state), ignored);
  }
  if (parts_->serving.joinable()) {
    parts_->serving.request_stop();
    parts_->serving.join();
  }
  if (parts_->runner) parts_->runner->stop();
}

void Instance::start() {
  Parts& parts = *parts_;
  std::error_code failed;
  fs::create_directories(options_.state, failed);
  if (failed)
    throw Error(ErrorCode::kIo, fmt::format("cannot create the folder '{}': {}; choose another with --data",
                                            options_.state.string(), failed.message()));
  Feed feed = make_feed(options_, *parts.transport, parts.clock);

  // Real posts and the sample world never share a store: no search may mix fact and fiction. A command without a feed of
  // its own looks into the one that there is.
  const fs::path real = options_.state / "posts";
  const fs::path fiction = options_.state / "fiction";
  if (feed.sources.empty() && !fs::exists(real) && fs::exists(fiction)) feed.fiction = true;
  live::StoreOptions store;
  store.folder = feed.fiction ? fiction : real;
  parts.store = live::Store::open(store, parts.clock);
  parts.cursors = live::open_cursor_file(store.folder / "cursors.json");

  parts.pool.emplace(options_.threads != 0 ? options_.threads
                                           : std::max(1u, std::thread::hardware_concurrency()));
  parts.engine = load_model(options_, *parts.pool);
  parts.embedder = load_embedder(options_, *parts.pool);
  parts.assistant = answer::Assistant::create(*parts.store, parts.engine.get(), parts.clock);
  parts.runner.emplace(*parts.store, *parts.cursors, parts.clock);
  // A team of its own, which sleeps between plans: callers of a pool take turns, and the model's steps may not wait.
  parts.planning_pool.emplace(std::max(1u, std::thread::hardware_concurrency()));
  parts.planner = load_planner(*parts.planning_pool);

  const auto sources_status = [&parts] {
    json list = json::array();
    for (const auto& status : parts.runner->status()) list.push_back(to_json(status));
    return list;
  };
  server::ServerOptions options = options_.server;
  options.version = FATHOM_VERSION;
  parts.server = server::Server::create(options, server::Services{.store = *parts.store,
                                                                  .assistant = *parts.assistant,
                                                                  .engine = parts.engine.get(),
                                                                  .embedder = parts.embedder.get(),
                                                                  .planner = parts.planner.get(),
                                                                  .clock = parts.clock,
                                                                  .sources_status = sources_status,
                                                                  .fiction_feed = feed.fiction});
  const std::string feed_name = describe(feed);
  for (auto& source : feed.sources) parts.runner->add(std::move(source));
  parts.serving = std::jthread([&parts](const std::stop_token& stop) { parts.server->run(stop); });

  if (!options_.announce) return;
  const json record = {{"url", parts.server->url()}, {"pid", ::getpid()}};
  write_file_atomic(server_file(options_.state), record.dump() + "\n");
  parts.recorded = true;
  std::printf("Feed:  %s\n", feed_name.c_str());
  std::printf("Model: %s\n", parts.engine
                                 ? parts.engine->info().name.c_str()
                                 : "none; answers are quotations (put a GGUF file into the models folder)");
  if (parts.embedder) std::printf("Embeddings: %s\n", parts.embedder->info().name.c_str());
  std::printf("Fathom is ready: %s/\n", parts.server->url().c_str());
  std::fflush(stdout);
}

void Instance::wait(const std::stop_token& stop) {
  const std::stop_callback forward(stop, [this] { parts_->serving.request_stop(); });
  if (parts_->serving.joinable()) parts_->serving.join();
}

std::string Instance::url() const { return parts_->server->url(); }

std::vector<fs::path> find_models(const fs::path& state) { return model::find_model_files(state / "models"); }

fs::path default_scenarios() { return fs::path(FATHOM_DATA_DIR) / "world"; }

}  // namespace fathom::cli
