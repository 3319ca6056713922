// fathom sources: what Fathom reads, in STATE/sources.toml.
#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "base/transport.h"
#include "base/websocket.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/instance.h"
#include "cli/show.h"
#include "live/sources/config.h"

namespace fathom::cli {
namespace {

using live::SourceKind;
using live::SourceSpec;
using nlohmann::json;

[[noreturn]] void refuse(const std::string& sentence) { throw Error(ErrorCode::kInvalidArgument, sentence); }

std::vector<SourceSpec>::iterator find_source(std::vector<SourceSpec>& specs, const std::string& name) {
  const auto found =
      std::find_if(specs.begin(), specs.end(), [&](const SourceSpec& spec) { return spec.name == name; });
  if (found != specs.end()) return found;
  std::string names;
  for (const SourceSpec& spec : specs) names += (names.empty() ? "" : ", ") + spec.name;
  throw Error(ErrorCode::kNotFound,
              names.empty() ? fmt::format("there is no source '{}'; 'fathom sources add' makes one", name)
                            : fmt::format("there is no source '{}'; there are {}", name, names));
}

// --- list

struct ListOptions {
  std::filesystem::path state;
  bool json = false;
};

/// What a running server says of its sources; null without one.
json running_sources(const std::filesystem::path& state) {
  const auto status = running_status(state);
  return status ? status->value("sources", json::array()) : json();
}

const json* status_of(const json& running, const std::string& name) {
  for (const json& source : running)
    if (source.value("name", "") == name) return &source;
  return nullptr;
}

json to_json(const SourceSpec& spec) {
  json options = json::object();
  const SourceKind* kind = live::find_kind(spec.kind);
  for (const auto& [name, value] : spec.options) {
    const auto option = std::find_if(kind->options.begin(), kind->options.end(),
                                     [&, wanted = name](const auto& one) { return one.name == wanted; });
    if (option != kind->options.end() && option->list) {
      options[name] = spec.list(name);
    } else {
      options[name] = value;
    }
  }
  return {
      {"name", spec.name}, {"kind", spec.kind}, {"enabled", spec.enabled}, {"options", std::move(options)}};
}

std::string state_words(const SourceSpec* spec, const json& running, const json* status) {
  if (spec != nullptr && !spec->enabled) return "disabled";
  if (running.is_null()) return "no server runs";
  if (status == nullptr) return "not yet taken over";
  std::string words = fmt::format("{}, {} posts, {:.1f} a second", status->value("state", ""),
                                  status->value("posts", uint64_t{0}), status->value("per_second", 0.0));
  if (status->contains("lag_p50_seconds"))
    words += fmt::format(", {:.2g} s late", status->at("lag_p50_seconds").get<double>());
  if (const std::string error = status->value("last_error", "");
      !error.empty() && status->value("state", "") != "live")
    words += "; " + error;
  return words;
}

int list(const ListOptions& options) {
  const auto specs = live::read_sources(sources_file(options.state));
  const json running = running_sources(options.state);
  json all = json::array();
  const auto add = [&](json entry, const SourceSpec* spec, const std::string& name) {
    const json* status = status_of(running, name);
    if (status != nullptr) entry["status"] = *status;
    if (options.json) return all.push_back(std::move(entry));
    std::cout << fmt::format("{:<16} {:<11} {}\n", name, entry.value("kind", ""),
                             for_terminal(state_words(spec, running, status)));
  };
  for (const SourceSpec& spec : specs) add(to_json(spec), &spec, spec.name);
  for (const json& source : running) {  // what --source started
    const std::string name = source.value("name", "");
    const bool known =
        std::any_of(specs.begin(), specs.end(), [&](const SourceSpec& spec) { return spec.name == name; });
    if (!known) add({{"name", name}, {"kind", "--source"}}, nullptr, name);
  }
  if (options.json) std::cout << all.dump(2, ' ', false, json::error_handler_t::replace) << "\n";
  if (!options.json && specs.empty() && running.empty())
    std::cout << "None yet: 'fathom sources kinds' says what there is, 'fathom sources add' adds one.\n";
  return 0;
}

void add_list(CLI::App& sources, Run& run) {
  auto options = std::make_shared<ListOptions>();
  CLI::App* command = sources.add_subcommand("list", "The sources, and how they fare in the running server");
  add_state_option(*command, options->state);
  command->add_flag("--json", options->json, "As JSON");
  command->callback([options, &run] { run = [options] { return list(*options); }; });
}

// --- kinds

int show_kinds() {
  for (const SourceKind& kind : live::source_kinds()) {
    std::cout << fmt::format("{}\n    {}\n", kind.name, kind.summary);
    for (const auto& option : kind.options)
      std::cout << fmt::format("    {:<18} {}{}{}{}\n", option.name, option.help,
                               option.required ? "; needed" : "", option.list ? "; several" : "",
                               option.example.empty() ? "" : fmt::format("; such as {}", option.example));
    std::cout << "\n";
  }
  std::cout << fmt::format("Every kind also has {}: the most posts a second that are taken of it.\n",
                           live::kRateOption);
  return 0;
}

void add_kinds(CLI::App& sources, Run& run) {
  CLI::App* command = sources.add_subcommand("kinds", "What can be read, and the options of each kind");
  command->callback([&run] { run = [] { return show_kinds(); }; });
}

// --- add

struct AddOptions {
  std::filesystem::path state;
  std::string spec, name;
  std::vector<std::string> set;
  bool disabled = false;
};

SourceSpec spec_of(const AddOptions& options) {
  std::string text = options.spec;
  if (!options.set.empty() && text.find(':') == std::string::npos) text += ':';
  for (const std::string& setting : options.set) {
    if (setting.find('=') == std::string::npos)
      refuse(fmt::format("--set '{}' is not option=value", setting));
    text += "," + setting;
  }
  SourceSpec spec = live::parse_source(text);
  if (!options.name.empty()) spec.name = options.name;
  spec.enabled = !options.disabled;
  live::check_source(spec);
  return spec;
}

int add_source(const AddOptions& options) {
  const auto file = sources_file(options.state);
  const SourceSpec spec = spec_of(options);
  auto specs = live::read_sources(file);
  for (const SourceSpec& known : specs)
    if (known.name == spec.name)
      refuse(fmt::format("there is a source '{}' already; choose another with --name, or remove it first",
                         spec.name));
  const auto transport = make_transport();
  const auto web_sockets = make_web_sockets();
  const SystemClock clock;
  try {
    live::make_source(spec, {*transport, *web_sockets, clock});
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kInvalidArgument) throw;
    std::cerr << "note: " << error.what() << "\n";  // a secret that only the server has, say
  }
  specs.push_back(spec);
  std::filesystem::create_directories(options.state);
  live::write_sources(file, specs);
  const auto status = running_status(options.state);
  const bool fiction = status && status->value("fiction", false);
  std::cout << fmt::format("Added '{}' to {}. {}; try it with\n  fathom sources test {}\n", spec.name,
                           file.string(),
                           fiction ? "The running server plays the sample world: start it again to read this"
                                   : "A running server takes it over within seconds",
                           spec.name);
  return 0;
}

void add_add(CLI::App& sources, Run& run) {
  auto options = std::make_shared<AddOptions>();
  CLI::App* command = sources.add_subcommand("add", "Add a source");
  command->footer(
      "Examples:\n"
      "  fathom sources add bluesky\n"
      "  fathom sources add mastodon:mastodon.social --set 'token=$MASTODON_TOKEN' --set hashtags=cpp\n"
      "  fathom sources add rss:https://example.org/feed.xml,https://example.com/ --name news\n\n"
      "A secret is given as $VARIABLE (in quotation marks, so that the shell leaves it alone) or file:PATH "
      "of a "
      "file\nof mode 0600. 'fathom sources kinds' lists all options.");
  add_state_option(*command, options->state);
  command->add_option("kind", options->spec, "KIND, or KIND:PLACE where the kind's first option is the place")
      ->required()
      ->type_name("KIND[:PLACE]");
  command->add_option("--name", options->name, "Its name; default the kind")->type_name("NAME");
  command
      ->add_option("--set", options->set,
                   "An option; several times for several, or for the entries of a list")
      ->type_name("OPTION=VALUE")
      ->allow_extra_args(false);
  command->add_flag("--disabled", options->disabled, "Add it without starting it");
  command->callback([options, &run] { run = [options] { return add_source(*options); }; });
}

// --- remove, enable, disable

struct NameOptions {
  std::filesystem::path state;
  std::string name;
};

void add_change(CLI::App& sources, Run& run, const char* word, const char* help,
                void (*change)(std::vector<SourceSpec>&, std::vector<SourceSpec>::iterator)) {
  auto options = std::make_shared<NameOptions>();
  CLI::App* command = sources.add_subcommand(word, help);
  add_state_option(*command, options->state);
  command->add_option("name", options->name, "Name of the source")->required()->type_name("NAME");
  command->callback([options, change, &run] {
    run = [options, change] {
      const auto file = sources_file(options->state);
      auto specs = live::read_sources(file);
      change(specs, find_source(specs, options->name));
      live::write_sources(file, specs);
      return 0;
    };
  });
}

// --- test

struct TestOptions {
  std::filesystem::path state;
  std::string source;
  double seconds = 15;
  size_t posts = 5;
};

/// Shows what comes; asks to stop after so many posts.
class ShowingSink final : public live::Sink {
 public:
  ShowingSink(size_t most, std::stop_source& stop) : most_(most), stop_(stop) {}

  std::string cursor() const override { return {}; }
  bool deliver(live::Post post) override {
    if (shown_ == most_) return false;
    if (post.deleted) return true;
    show_post(live::to_json(post));
    if (++shown_ == most_) stop_.request_stop();
    return true;
  }
  void advance(std::string) override {}
  void set_live() override {
    live_ = true;
    std::cerr << "connected\n";
  }
  void reject(std::string_view why) override {
    ++rejected_;
    std::cerr << "left out: " << for_terminal(why) << "\n";
  }
  void warn(std::string_view what) override { std::cerr << for_terminal(what) << "\n"; }

  size_t shown() const { return shown_; }
  size_t rejected() const { return rejected_; }
  bool live() const { return live_; }

 private:
  const size_t most_;
  std::stop_source& stop_;
  size_t shown_ = 0, rejected_ = 0;
  bool live_ = false;
};

SourceSpec named_or_spelled(const TestOptions& options) {
  auto specs = live::read_sources(sources_file(options.state));
  for (const SourceSpec& spec : specs)
    if (spec.name == options.source) return spec;
  const bool spelled = options.source == "-" || options.source.find(':') != std::string::npos ||
                       live::find_kind(options.source) != nullptr;
  return spelled ? live::parse_source(options.source) : *find_source(specs, options.source);
}

int test(const TestOptions& options) {
  const auto transport = make_transport();
  const auto web_sockets = make_web_sockets();
  const SystemClock clock;
  const SourceSpec spec = named_or_spelled(options);
  const auto source = live::make_source(spec, {*transport, *web_sockets, clock});
  std::stop_source stop;
  ShowingSink sink(options.posts, stop);
  const std::jthread timer([&](const std::stop_token& ended) {
    if (clock.sleep(Micros(static_cast<int64_t>(options.seconds * 1e6)), ended)) stop.request_stop();
  });
  try {
    source->run(sink, stop.get_token());
  } catch (const Error& error) {
    if (!stop.stop_requested()) throw;
  }
  std::cerr << fmt::format("{}: {} posts{}{}\n", spec.name, sink.shown(),
                           sink.rejected() > 0 ? fmt::format(", {} pieces left out", sink.rejected()) : "",
                           sink.live() || sink.shown() > 0 ? "" : "; it did not connect in time");
  return sink.live() || sink.shown() > 0 ? 0 : 1;
}

void add_test(CLI::App& sources, Run& run) {
  auto options = std::make_shared<TestOptions>();
  CLI::App* command = sources.add_subcommand("test", "Connect, show the first posts, say what is wrong");
  command->footer(
      "Examples:\n"
      "  fathom sources test news\n"
      "  fathom sources test rss:https://example.org/feed.xml --posts 3\n\n"
      "Nothing is stored. The code is 0 when it connected.");
  add_state_option(*command, options->state);
  command->add_option("source", options->source, "Name of a source, or KIND:PLACE")
      ->required()
      ->type_name("NAME|KIND:PLACE");
  command->add_option("--seconds", options->seconds, "How long to wait")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
  command->add_option("--posts", options->posts, "Posts to show")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  command->callback([options, &run] { run = [options] { return test(*options); }; });
}

}  // namespace

void add_sources(CLI::App& app, Run& run) {
  CLI::App* sources = app.add_subcommand("sources", "What is read: list, add, test and remove sources");
  sources->require_subcommand(1);
  sources->footer(
      "Examples:\n"
      "  fathom sources kinds\n"
      "  fathom sources add rss:https://example.org/feed.xml --name news\n"
      "  fathom sources test news\n"
      "  fathom sources list\n"
      "  fathom sources disable news\n\n"
      "They stand in sources.toml in the folder of --data; a running server takes changes over within "
      "seconds.");
  add_list(*sources, run);
  add_kinds(*sources, run);
  add_add(*sources, run);
  add_test(*sources, run);
  add_change(*sources, run, "remove", "Remove a source; the posts that it brought stay",
             [](auto& specs, auto source) { specs.erase(source); });
  add_change(*sources, run, "enable", "Start a source again",
             [](auto&, auto source) { source->enabled = true; });
  add_change(*sources, run, "disable", "Stop a source without removing it",
             [](auto&, auto source) { source->enabled = false; });
}

}  // namespace fathom::cli
