// fathom keys: who may ask this server, for what and how often.
#include "server/keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/error.h"
#include "cli/command.h"

namespace fathom::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  fs::path state;
  std::string name;
  std::string role = "reader";
  uint32_t per_minute = 0;
  bool json = false;
};

fs::path key_file(const Options& options) { return options.state / "keys.toml"; }

bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.' || c == '@';
  });
}

int add(const Options& options) {
  if (!is_name(options.name))
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("'{}' cannot be a key's name; use letters, digits, and - _ . @", options.name));
  auto keys = server::read_keys(key_file(options));
  for (const auto& key : keys)
    if (key.name == options.name)
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("there is a key '{}' already; take it away first with 'fathom keys remove {}'",
                              options.name, options.name));
  const std::string secret = server::make_key();
  server::ApiKey key;
  key.name = options.name;
  key.sha256 = server::key_digest(secret);
  key.role = server::parse_role(options.role);
  if (options.per_minute > 0) key.requests_per_minute = options.per_minute;
  key.created = std::chrono::floor<std::chrono::seconds>(SystemClock().now());
  keys.push_back(key);
  fs::create_directories(options.state);
  server::write_keys(key_file(options), keys);
  if (options.json) {
    std::cout << nlohmann::ordered_json{{"name", key.name}, {"role", options.role}, {"key", secret}}.dump()
              << "\n";
  } else {
    std::cout << secret << "\n";
    std::cerr << fmt::format("This is the key of '{}' ({}). It is not stored and cannot be shown again.\n",
                             key.name, options.role);
  }
  return 0;
}

int list(const Options& options) {
  const auto keys = server::read_keys(key_file(options));
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  for (const auto& key : keys) {
    nlohmann::ordered_json entry = {
        {"name", key.name}, {"role", server::to_string(key.role)}, {"created", format_time(key.created)}};
    if (key.requests_per_minute) entry["requests_per_minute"] = *key.requests_per_minute;
    out.push_back(std::move(entry));
  }
  if (options.json) {
    std::cout << out.dump(2) << "\n";
    return 0;
  }
  if (keys.empty()) std::cout << "No keys yet; 'fathom keys add NAME' makes one.\n";
  for (const auto& key : keys)
    std::cout << fmt::format("{:<24} {:<7} {:<16} {}\n", key.name, server::to_string(key.role),
                             key.requests_per_minute ? fmt::format("{} a minute", *key.requests_per_minute)
                                                     : std::string("no limit"),
                             format_time(key.created));
  return 0;
}

int remove(const Options& options) {
  auto keys = server::read_keys(key_file(options));
  const auto gone = std::erase_if(keys, [&](const auto& key) { return key.name == options.name; });
  if (gone == 0)
    throw Error(
        ErrorCode::kNotFound,
        fmt::format("there is no key '{}'; 'fathom keys list' shows those that there are", options.name));
  server::write_keys(key_file(options), keys);
  std::cout << fmt::format(
      "The key '{}' is taken away; a running server refuses it within a second or two.\n", options.name);
  return 0;
}

CLI::App* add_action(CLI::App& command, const std::shared_ptr<Options>& options, Run& run, const char* name,
                     const char* help, int (*action)(const Options&)) {
  CLI::App* added = command.add_subcommand(name, help);
  add_state_option(*added, options->state);
  added->callback([options, action, &run] { run = [options, action] { return action(*options); }; });
  return added;
}

}  // namespace

void add_keys(CLI::App& app, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("keys", "Say who may ask this server");
  command->require_subcommand(1);
  command->footer(
      "Examples:\n"
      "  fathom keys add alice --role poster --requests-per-minute 60\n"
      "  fathom keys list\n"
      "  fathom keys remove alice\n\n"
      "Roles: reader (search and ask), poster (and post), admin (everything). With one key or more the "
      "server asks for one;\n"
      "a running server takes changes over within seconds. The file STATE/keys.toml holds digests only.");
  CLI::App* adding = add_action(*command, options, run, "add", "Make a key and print it, once", add);
  adding->footer("Example:\n  fathom keys add newsroom --role poster --requests-per-minute 600");
  adding->add_option("name", options->name, "Whose it is: stands in the audit log")->required();
  adding->add_option("--role", options->role, "reader, poster or admin")
      ->check(CLI::IsMember({"reader", "poster", "admin"}))
      ->capture_default_str();
  adding->add_option("--requests-per-minute", options->per_minute, "More are told to come again; 0: no limit")
      ->check(CLI::Range(0, 1'000'000));
  adding->add_flag("--json", options->json, "The key as JSON");
  CLI::App* listing =
      add_action(*command, options, run, "list", "Show the keys' names, roles and limits", list);
  listing->footer("Example:\n  fathom keys list --json");
  listing->add_flag("--json", options->json, "As JSON");
  CLI::App* removing = add_action(*command, options, run, "remove", "Take a key away", remove);
  removing->footer("Example:\n  fathom keys remove alice");
  removing->add_option("name", options->name, "The key's name")->required();
}

}  // namespace fathom::cli
