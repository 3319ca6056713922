#include "cli/setup.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "base/toml.h"
#include "cli/instance.h"
#include "cli/pull_options.h"

namespace fathom::cli {
namespace {

namespace fs = std::filesystem;
using live::SourceSpec;
using server::SetupEffect;
using server::SetupOffer;
using server::SetupOrder;

constexpr std::string_view kWorld = "sample_world", kModel = "model:";
constexpr std::string_view kWorldSource = "world";  // live::Source::name of the one that plays it

struct SourceOffer {
  SetupOffer shown;
  SourceSpec spec;  // but for the address
};

struct ModelOffer {
  SetupOffer shown;
  model::HubName name;
  std::string file;  // how its files' names begin
};

SetupOffer read_offer(const TomlTable& table, const std::string& kind, std::string_view prefix) {
  SetupOffer out;
  out.id = std::string(prefix) + table.text("id");
  out.kind = kind;
  out.title = table.text("title");
  out.description = table.text("description");
  return out;
}

class ServerSetup final : public server::Setup {
 public:
  explicit ServerSetup(SetupParts parts) : parts_(std::move(parts)) {
    const TomlTable file = TomlTable::read(parts_.offers);
    file.allow({"source", "model"});
    for (const TomlTable& table : file.tables("source")) {
      table.allow({"id", "title", "description", "source", "address"});
      SourceOffer offer{read_offer(table, "source", ""), {}};
      offer.shown.example = table.text_or("address", "");
      offer.shown.needs_address = !offer.shown.example.empty();
      if (live::find_kind(table.text("source")) == nullptr)
        table.error("source", "there is no such kind of source");
      offer.spec.name = offer.spec.kind = table.text("source");
      sources_.push_back(std::move(offer));
    }
    for (const TomlTable& table : file.tables("model")) {
      table.allow({"id", "title", "description", "model", "file"});
      models_.push_back({read_offer(table, "model", kModel), model::parse_hub_name(table.text("model")),
                         table.text("file")});
    }
  }

  std::vector<SetupOffer> offers() const override {
    std::vector<SetupOffer> out;
    out.push_back(world_offer());
    const auto specs = configured();
    for (const SourceOffer& offer : sources_) {
      out.push_back(offer.shown);
      const bool there = std::any_of(specs.begin(), specs.end(), [&](const SourceSpec& spec) {
        return spec.kind == offer.spec.kind && spec.enabled;
      });
      // Of those with an address there may be many.
      if (there && !offer.shown.needs_address) out.back().state = SetupOffer::State::kInstalled;
    }
    const auto files = find_models(parts_.state);
    const std::lock_guard lock(mutex_);
    for (const ModelOffer& offer : models_) out.push_back(model_state(offer, files));
    return out;
  }

  SetupEffect begin(const SetupOrder& order) override {
    if (order.id == kWorld) return play_world();
    for (const SourceOffer& offer : sources_)
      if (offer.shown.id == order.id) return add_source(offer, order);
    for (const ModelOffer& offer : models_)
      if (offer.shown.id == order.id) return fetch(offer);
    throw Error(ErrorCode::kNotFound, fmt::format("there is no offer \"{}\"; GET /v1/setup lists them",
                                                  sanitize_utf8(order.id.substr(0, 64))));
  }

  std::vector<std::string> removable() const override {
    if (parts_.fiction) return {std::string(kWorldSource)};
    std::vector<std::string> out;
    for (const SourceSpec& spec : configured()) out.push_back(spec.name);
    return out;
  }

  std::optional<SetupEffect> remove(const std::string& source) override {
    if (parts_.fiction) return source == kWorldSource ? leave_world() : std::nullopt;
    const std::lock_guard lock(file_mutex_);
    auto specs = live::read_sources(sources_file(parts_.state));
    if (std::erase_if(specs, [&](const SourceSpec& spec) { return spec.name == source; }) == 0)
      return std::nullopt;
    live::write_sources(sources_file(parts_.state), specs);
    parts_.refresh();
    return SetupEffect::kNow;
  }

 private:
  /// What has become of fetching a model.
  struct Fetch {
    std::string id;
    bool running = false;
    uint64_t done = 0, total = 0;
    std::string problem;
  };

  /// None from a file that cannot be read: the log has said why when the server read it.
  std::vector<SourceSpec> configured() const {
    try {
      return live::read_sources(sources_file(parts_.state));
    } catch (const Error&) {
      return {};
    }
  }

  SetupOffer world_offer() const {
    SetupOffer out;
    out.id = kWorld;
    out.kind = "world";
    out.title = "Sample world";
    out.description =
        "An invented day of posts, replayed: to try everything without any account. All of it is fiction.";
    if (parts_.fiction) out.state = SetupOffer::State::kInstalled;
    return out;
  }

  /// REQUIRES: mutex_ held.
  SetupOffer model_state(const ModelOffer& offer, const std::vector<fs::path>& files) const {
    SetupOffer out = offer.shown;
    const bool there = std::any_of(files.begin(), files.end(), [&](const fs::path& path) {
      return path.filename().string().starts_with(offer.file);
    });
    if (there) {
      out.state = SetupOffer::State::kInstalled;
      if (parts_.model != "auto")
        out.problem = fmt::format("this server was started with --model {}; start it without to use this one",
                                  fs::path(parts_.model).filename().string());
    }
    if (fetch_.id != out.id) return out;
    out.done = fetch_.done;
    out.total = fetch_.total;
    if (fetch_.running) {
      out.state = SetupOffer::State::kFetching;
    } else if (!fetch_.problem.empty()) {
      out.state = SetupOffer::State::kFailed;
      out.problem = fetch_.problem;
    }
    return out;
  }

  SetupEffect play_world() {
    if (parts_.fiction) return SetupEffect::kNow;
    fs::create_directories(world_mark(parts_.state).parent_path());
    write_file_atomic(world_mark(parts_.state), "");
    restart({"world"});
    return SetupEffect::kRestart;
  }

  /// What is read then is what the sources' file says, or nothing: the offers stand there again.
  std::optional<SetupEffect> leave_world() {
    std::error_code ignored;
    fs::remove(world_mark(parts_.state), ignored);
    restart({"none"});
    return SetupEffect::kRestart;
  }

  SetupEffect add_source(const SourceOffer& offer, const SetupOrder& order) {
    const std::lock_guard lock(file_mutex_);
    auto specs = live::read_sources(sources_file(parts_.state));
    SourceSpec spec = spec_of(offer, order);
    const auto taken = [&](const std::string& name) {
      return std::any_of(specs.begin(), specs.end(),
                         [&](const SourceSpec& known) { return known.name == name; });
    };
    if (!order.name.empty() && taken(order.name))
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("there is a source '{}' already; choose another name", order.name));
    const std::string stem = spec.name;
    for (int number = 2; taken(spec.name); ++number) {
      // A second one that needs no address would read the same again.
      if (!offer.shown.needs_address)
        throw Error(ErrorCode::kInvalidArgument, fmt::format("the source '{}' is there already", stem));
      spec.name = stem + std::to_string(number);
    }
    live::make_source(spec, parts_.context);  // checks it, secrets and all
    specs.push_back(spec);
    live::write_sources(sources_file(parts_.state), specs);
    std::error_code ignored;
    fs::remove(world_mark(parts_.state), ignored);
    if (!parts_.fiction) {
      parts_.refresh();
      return SetupEffect::kNow;
    }
    restart({"auto"});
    return SetupEffect::kRestart;
  }

  static SourceSpec spec_of(const SourceOffer& offer, const SetupOrder& order) {
    if (offer.shown.needs_address && trim(order.address).empty())
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("\"{}\" needs an address, such as {}", offer.shown.id, offer.shown.example));
    SourceSpec spec = offer.spec;
    if (offer.shown.needs_address)
      spec.options[std::string(live::find_kind(spec.kind)->options.front().name)] = trim(order.address);
    for (const auto& [name, value] : order.options) spec.options[name] = value;
    if (!order.name.empty()) spec.name = order.name;
    live::check_source(spec);
    return spec;
  }

  SetupEffect fetch(const ModelOffer& offer) {
    const std::lock_guard lock(mutex_);
    if (fetch_.running)
      throw Error(ErrorCode::kResourceExhausted, "a model is being fetched already; wait for its end");
    fetch_ = {offer.shown.id, true, 0, 0, ""};
    thread_ = std::jthread([this, &offer](const std::stop_token& stop) { fetch_now(offer, stop); });
    return SetupEffect::kFetched;
  }

  void fetch_now(const ModelOffer& offer, const std::stop_token& stop) {
    std::string problem;
    try {
      const auto show = [this](const model::PullProgress& progress) {
        const std::lock_guard lock(mutex_);
        fetch_.done = progress.done;
        fetch_.total = progress.total;
      };
      model::pull(offer.name, pull_options(parts_.state), parts_.context.transport, parts_.context.clock,
                  show, stop);
    } catch (const Error& error) {
      // What says something about the machine is for its log alone.
      problem = error.code() == ErrorCode::kIo
                    ? "the model could not be written; the server's log has the reason"
                    : error.what();
      log().error("the model {}: {}", offer.shown.id, error.what());
    }
    bool anew = problem.empty() && parts_.model == "auto";
    std::vector<std::string> sources;
    {
      const std::lock_guard lock(mutex_);
      fetch_.running = false;
      fetch_.problem = problem;
      anew = anew || !waiting_.empty();
      sources = std::move(waiting_);
    }
    if (anew && !stop.stop_requested()) parts_.restart(std::move(sources));
  }

  /// At once, or when what is being fetched is there.
  void restart(std::vector<std::string> sources) {
    {
      const std::lock_guard lock(mutex_);
      if (fetch_.running) {
        waiting_ = std::move(sources);
        return;
      }
    }
    parts_.restart(std::move(sources));
  }

  const SetupParts parts_;
  std::vector<SourceOffer> sources_;
  std::vector<ModelOffer> models_;
  std::mutex file_mutex_;  // of the sources' file: read, changed and written
  mutable std::mutex mutex_;
  Fetch fetch_;
  std::vector<std::string> waiting_;  // for the fetch's end: what the server starts anew with
  std::jthread thread_;               // last: joined before what it uses goes
};

}  // namespace

std::unique_ptr<server::Setup> make_setup(SetupParts parts) {
  return std::make_unique<ServerSetup>(std::move(parts));
}

fs::path world_mark(const fs::path& state) { return state / "world" / "chosen"; }

}  // namespace fathom::cli
