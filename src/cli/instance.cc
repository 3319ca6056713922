#include "cli/instance.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "answer/assistant.h"
#include "answer/conversations.h"
#include "answer/style.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/websocket.h"
#include "cli/client.h"
#include "cli/setup.h"
#include "cli/source_watch.h"
#include "cluster/planner.h"
#include "live/source.h"
#include "live/sources/config.h"
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
  std::vector<live::SourceSpec> configured;  // of sources.toml
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

/// A second source of a kind that names none is "rss2".
std::string free_name(const live::SourceSpec& spec, const Feed& feed) {
  const auto taken = [&](const std::string& name) {
    return std::any_of(feed.sources.begin(), feed.sources.end(),
                       [&](const auto& source) { return source->name() == name; });
  };
  std::string name = spec.name;
  for (int number = 2; spec.name == spec.kind && taken(name); ++number)
    name = spec.kind + std::to_string(number);
  return name;
}

/// What "auto" stands for.
std::string settle_auto(const InstanceOptions& options, const Feed& feed, Transport& transport) {
  if (!feed.configured.empty()) return "none";
  if (fs::exists(world_mark(options.state))) return "world";
  live::HackerNewsOptions hackernews;
  if (!options.hackernews_api.empty()) hackernews.api_url = options.hackernews_api;
  return live::hackernews_reachable(hackernews, transport, kProbe) ? "hackernews" : "world";
}

std::unique_ptr<live::Source> make_one(const std::string& text, const InstanceOptions& options,
                                       const Feed& feed, const live::SourceContext& context) {
  live::SourceSpec spec;
  try {
    spec = live::parse_source(text);
    if (spec.kind == "hackernews" && !options.hackernews_api.empty())
      spec.options.try_emplace("api", options.hackernews_api);
    spec.name = free_name(spec, feed);
    return live::make_source(spec, context);
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("--source {}: {}", text, error.what()));
  }
}

Feed make_feed(const InstanceOptions& options, const live::SourceContext& context) {
  Feed feed;
  if (options.sources_file) feed.configured = live::read_sources(sources_file(options.state));
  for (std::string spec : options.sources) {
    if (spec == "auto") spec = settle_auto(options, feed, context.transport);
    if (spec == "world") {
      feed.sources.push_back(make_world_source(options, context.clock));
      feed.fiction = true;
    } else if (spec != "none") {
      feed.sources.push_back(make_one(spec, options, feed, context));
    }
  }
  if (feed.fiction && feed.sources.size() > 1)
    throw Error(ErrorCode::kInvalidArgument,
                "--source world stands alone: fiction and real posts are never searched together");
  if (feed.fiction && !feed.configured.empty())
    log().warn("the sample world stands alone: the sources of {} are not read",
               sources_file(options.state).string());
  return feed;
}

/// For people: what the feed is.
std::string describe(const Feed& feed) {
  if (feed.fiction) return "the sample world, replayed (fiction)";
  std::string names;
  for (const auto& source : feed.sources)
    names += fmt::format("{}{}", names.empty() ? "" : ", ", source->name());
  for (const auto& spec : feed.configured)
    if (spec.enabled) names += fmt::format("{}{}", names.empty() ? "" : ", ", spec.name);
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

/// The kept conversations, or why there are none: people may still ask.
std::unique_ptr<answer::Conversations> open_conversations(const fs::path& folder, const Clock& clock,
                                                          std::string& problem) {
  try {
    return answer::Conversations::open(folder, clock);
  } catch (const Error& error) {
    log().error("no conversations are kept: {}", error.what());
    problem = error.code() == ErrorCode::kCorrupt       ? "the stored conversations are damaged"
              : error.code() == ErrorCode::kUnsupported ? "the stored conversations are of a later version"
                                                        : "the stored conversations cannot be opened";
    problem += "; the server's log has the reason";
    return nullptr;
  }
}

/// Somebody waits for the model.
bool is_busy(const infer::Engine* engine) {
  if (engine == nullptr) return false;
  const infer::EngineStatus status = engine->status();
  return status.running + status.waiting > 0;
}

json to_json(const live::SourceStatus& status) {
  json out = {{"name", status.name},
              {"state", live::to_string(status.state)},
              {"posts", status.posts},
              {"duplicates", status.duplicates},
              {"deleted", status.deleted},
              {"counts", status.counts},
              {"rejected", status.rejected},
              {"skewed", status.skewed},
              {"reconnects", status.reconnects},
              {"errors", status.errors},
              {"per_second", status.per_second},
              {"last_error", status.last_error}};
  if (status.lag_seconds) out["lag_seconds"] = *status.lag_seconds;
  if (status.lag_p50) out["lag_p50_seconds"] = *status.lag_p50;
  if (status.lag_p99) out["lag_p99_seconds"] = *status.lag_p99;
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
  std::unique_ptr<WebSockets> web_sockets = make_web_sockets();
  std::optional<ThreadPool> pool;
  std::unique_ptr<infer::Engine> engine;
  std::unique_ptr<infer::Embedder> embedder;
  std::optional<LiveParts> live;
  std::optional<answer::Styles> styles;
  std::unique_ptr<answer::Assistant> assistant;
  std::string conversations_problem;
  std::unique_ptr<answer::Conversations> conversations;
  std::optional<ThreadPool> planning_pool;
  std::unique_ptr<cluster::Planner> planner;
  std::optional<SourceWatch> watch;
  std::mutex mutex;                     // guards `next`
  std::optional<InstanceOptions> next;  // the instance that follows this one
  std::unique_ptr<server::Setup> setup;
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
  parts_->setup.reset();  // while there is a server that it may want to start anew
  parts_->watch.reset();
  if (parts_->live) parts_->live->stop();
}

void Instance::start() {
  Parts& parts = *parts_;
  std::error_code failed;
  fs::create_directories(options_.state, failed);
  if (failed)
    throw Error(ErrorCode::kIo, fmt::format("cannot create the folder '{}': {}; choose another with --data",
                                            options_.state.string(), failed.message()));
  const live::SourceContext context{*parts.transport, *parts.web_sockets, parts.clock};
  Feed feed = make_feed(options_, context);

  // Real posts and the sample world never share a store: no search may mix fact and fiction. A command without a feed of
  // its own looks into the one that there is.
  const fs::path real = options_.state / "posts";
  const fs::path fiction = options_.state / "fiction";
  if (feed.sources.empty() && feed.configured.empty() && !fs::exists(real) && fs::exists(fiction))
    feed.fiction = true;
  parts.live.emplace(options_.live, feed.fiction ? fiction : real, *parts.transport, parts.clock);

  parts.pool.emplace(options_.threads != 0 ? options_.threads
                                           : std::max(1u, std::thread::hardware_concurrency()));
  parts.engine = load_model(options_, *parts.pool);
  parts.embedder = load_embedder(options_, *parts.pool);
  if (parts.embedder)
    parts.live->embed_with(*parts.embedder, [&parts] { return is_busy(parts.engine.get()); });
  parts.styles.emplace(
      std::vector<fs::path>{fs::path(FATHOM_DATA_DIR) / "styles", options_.state / "styles"});
  parts.assistant = answer::Assistant::create(parts.live->all(), parts.engine.get(), parts.clock,
                                              &*parts.styles, &parts.live->trends());
  parts.conversations =
      open_conversations(options_.state / "conversations", parts.clock, parts.conversations_problem);
  // A team of its own, which sleeps between plans: callers of a pool take turns, and the model's steps may not wait.
  parts.planning_pool.emplace(std::max(1u, std::thread::hardware_concurrency()));
  parts.planner = load_planner(*parts.planning_pool);

  const auto sources_status = [&parts] {
    json list = json::array();
    for (const auto& status : parts.live->sources()) list.push_back(to_json(status));
    return list;
  };
  if (options_.sources_file) make_setup_parts(feed.fiction, context);
  server::ServerOptions options = options_.server;
  options.version = FATHOM_VERSION;
  parts.server =
      server::Server::create(options, server::Services{.store = parts.live->all(),
                                                       .assistant = *parts.assistant,
                                                       .engine = parts.engine.get(),
                                                       .embedder = parts.embedder.get(),
                                                       .planner = parts.planner.get(),
                                                       .trends = &parts.live->trends(),
                                                       .standing = &parts.live->standing(),
                                                       .vectors = parts.live->vectors(),
                                                       .own_share = &parts.live->own(),
                                                       .clock = parts.clock,
                                                       .sources_status = sources_status,
                                                       .fiction_feed = feed.fiction,
                                                       .conversations = parts.conversations.get(),
                                                       .conversations_problem = parts.conversations_problem,
                                                       .styles = &*parts.styles,
                                                       .setup = parts.setup.get()});
  const std::string feed_name = describe(feed);
  for (auto& source : feed.sources) parts.live->runner().add(std::move(source));
  if (options_.sources_file && !feed.fiction)
    parts.watch.emplace(parts.live->runner(), context, sources_file(options_.state));
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

std::optional<InstanceOptions> Instance::next() const {
  const std::lock_guard lock(parts_->mutex);
  return parts_->next;
}

/// The page can do without: what it offers is a file that a person may have spoilt.
void Instance::make_setup_parts(bool fiction, const live::SourceContext& context) {
  Parts& parts = *parts_;
  try {
    parts.setup = make_setup({.state = options_.state,
                              .offers = fs::path(FATHOM_DATA_DIR) / "setup" / "offers.toml",
                              .fiction = fiction,
                              .model = options_.model,
                              .context = context,
                              .refresh =
                                  [&parts] {
                                    if (parts.watch) parts.watch->refresh();
                                  },
                              .restart = [this](auto sources) { restart(std::move(sources)); }});
  } catch (const Error& error) {
    log().warn("nothing is offered on the first run: {}", error.what());
  }
}

void Instance::restart(std::vector<std::string> sources) {
  {
    const std::lock_guard lock(parts_->mutex);
    if (!parts_->next) parts_->next = options_;
    if (!sources.empty()) parts_->next->sources = std::move(sources);
    parts_->next->server.port = parts_->server->port();
    parts_->next->server.port_fixed = true;
  }
  log().info("the server starts anew with what was set up");
  parts_->serving.request_stop();
}

std::string Instance::url() const { return parts_->server->url(); }

std::vector<fs::path> find_models(const fs::path& state) { return model::find_model_files(state / "models"); }

fs::path sources_file(const fs::path& state) { return state / "sources.toml"; }

fs::path default_scenarios() { return fs::path(FATHOM_DATA_DIR) / "world"; }

}  // namespace fathom::cli
