// fathom serve: the page and the API.
#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>

#include <cstdlib>
#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/instance.h"

namespace fathom::cli {
namespace {

struct Options {
  InstanceOptions instance;
  std::string key_file;
};

/// One key a line; empty lines and lines that begin with '#' are passed over.
std::vector<std::string> read_keys(const std::string& path) {
  std::vector<std::string> keys;
  const std::string content = read_file(path, size_t{1} << 20);
  for (const std::string_view line : split(content, '\n')) {
    const std::string_view key = trim(line);
    if (!key.empty() && !key.starts_with('#')) keys.emplace_back(key);
  }
  if (keys.empty())
    throw Error(ErrorCode::kInvalidArgument, fmt::format("the key file '{}' holds no key", path));
  return keys;
}

/// Blocks SIGINT and SIGTERM for all threads to come, and waits for one of them on a thread of its own.
class SignalStop {
 public:
  SignalStop() {
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGINT);
    sigaddset(&signals_, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  }
  std::stop_token token() const { return stop_.get_token(); }
  void listen() {
    std::thread([this] {
      int received = 0;
      sigwait(&signals_, &received);
      stop_.request_stop();
      pthread_sigmask(SIG_UNBLOCK, &signals_, nullptr);
      sigwait(&signals_, &received);  // a second one does not wait for the drain
      std::_Exit(130);
    }).detach();
  }

 private:
  sigset_t signals_{};
  std::stop_source stop_;
};

int serve(Options options) {
  if (!options.key_file.empty()) options.instance.server.api_keys = read_keys(options.key_file);
  if (const char* key = std::getenv("FATHOM_API_KEY"); key != nullptr && *key != '\0')
    options.instance.server.api_keys.emplace_back(key);
  static SignalStop signals;  // its thread may outlive this function
  Instance instance(options.instance);
  instance.start();
  signals.listen();
  instance.wait(signals.token());
  return 0;
}

}  // namespace

void add_serve(CLI::App& app, Run& run) {
  auto options = std::make_shared<Options>();
  InstanceOptions& instance = options->instance;
  CLI::App* command = app.add_subcommand("serve", "Serve the page and the API");
  command->footer(
      "Examples:\n"
      "  fathom serve\n"
      "  fathom serve --source file:posts.jsonl.zst,pace=feed*60,lead=90% --model my.gguf\n"
      "  fathom serve --address 0.0.0.0 --api-key-file keys.txt\n\n"
      "A source is auto (Hacker News when it can be reached, else the sample world), hackernews, world "
      "(fiction), none,\n"
      "or file:PATH with pace=at-once|N/s|feed|feed*SPEED and lead=SHARE%|DURATION|TIME; give several by "
      "repeating it.");
  add_state_option(*command, instance.state);
  command
      ->add_option("--address", instance.server.address,
                   "Address to listen on; one that others reach needs a key")
      ->capture_default_str();
  CLI::Option* port =
      command->add_option("--port", instance.server.port, "Port; 0: any that is free")->capture_default_str();
  command->add_option("--source", instance.sources, "Where posts come from (see below)")
      ->capture_default_str();
  command
      ->add_option("--model", instance.model, "A GGUF file, auto (the newest in the models folder) or none")
      ->capture_default_str();
  command->add_option("--threads", instance.threads, "Threads for the model; 0: one a core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command
      ->add_option("--context", instance.context, "Tokens of prompt and answer together; 0: the model's own")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  command->add_option("--api-key-file", options->key_file,
                      "File of API keys, one a line ($FATHOM_API_KEY adds one)");
  command->add_option("--scenarios", instance.scenarios, "Scenario files of the sample world")
      ->type_name("DIR");
  command->add_option("--hackernews-api", instance.hackernews_api, "Another address of the Hacker News API")
      ->type_name("URL");
  command->callback([options, port, &run] {
    options->instance.server.port_fixed = port->count() > 0;
    run = [options] { return serve(*options); };
  });
}

}  // namespace fathom::cli
