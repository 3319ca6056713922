// fathom serve: the page and the API.
#include <fmt/format.h>

#include <charconv>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/instance.h"
#include "cli/signal_stop.h"

namespace fathom::cli {
namespace {

struct Options {
  InstanceOptions instance;
  std::string key_file;
  double answer_seconds = 600;
  double drain_seconds = 20;
};

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
}

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

/// False: an instance that was to follow another cannot be started; people need not lose the one that they had.
bool start(Instance& instance, bool follows) {
  try {
    instance.start();
    return true;
  } catch (const Error& error) {
    if (!follows) throw;
    log().error("what was set up cannot be started, the server goes on as before: {}", error.what());
    return false;
  }
}

int serve(Options options) {
  options.instance.server.limits.answer_time = milliseconds(options.answer_seconds);
  options.instance.server.limits.drain = milliseconds(options.drain_seconds);
  if (!options.key_file.empty()) options.instance.server.api_keys = read_keys(options.key_file);
  if (const char* key = std::getenv("FATHOM_API_KEY"); key != nullptr && *key != '\0')
    options.instance.server.api_keys.emplace_back(key);
  options.instance.server.key_file = options.instance.state / "keys.toml";
  if (const char* key = std::getenv("FATHOM_REPLICA_KEY")) options.instance.live.replica_key = key;
  static SignalStop signals;  // its thread may outlive this function
  options.instance.sources_file = true;
  bool listening = false;
  std::optional<InstanceOptions> former;  // what ran before
  for (std::optional<InstanceOptions> next = options.instance; next;) {
    Instance instance(*next);
    if (!start(instance, former.has_value())) {
      next = std::exchange(former, std::nullopt);
      continue;
    }
    if (!std::exchange(listening, true)) signals.listen();
    former = std::move(next);
    instance.wait(signals.token());
    next = signals.token().stop_requested() ? std::nullopt : instance.next();
  }
  return 0;
}

void add_model_options(CLI::App& command, InstanceOptions& instance) {
  command
      .add_option(
          "--model", instance.model,
          "A GGUF file (of a split one the first), a Hugging Face folder, auto (the newest in the models "
          "folder) or none")
      ->capture_default_str();
  command
      .add_option("--adapter", instance.engine.adapter,
                  "A LoRA adapter in PEFT's layout, added to the model as it is loaded")
      ->type_name("DIR");
  command
      .add_option("--embedding-model", instance.embedding_model,
                  "The same for POST /v1/embeddings: a model of the BERT family, auto or none")
      ->capture_default_str();
  command.add_option("--threads", instance.threads, "Threads for the models; 0: one a core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command
      .add_option("--context", instance.engine.context,
                  "Tokens of prompt and answer together; 0: the model's own, at most 8192")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  command.add_option("--sequences", instance.engine.sequences, "Answers of the model that share a step")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  command
      .add_option("--cache-bytes", instance.engine.cache_bytes,
                  "Memory for keys and values: bytes, or with K, M, G (1024 each)")
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
  command
      .add_option_function<std::string>(
          "--cache-type", [&instance](const std::string& type) { instance.engine.cache_q8 = type == "q8"; },
          "Format of keys and values: f16, or q8 (half the memory)")
      ->check(CLI::IsMember({"f16", "q8"}))
      ->default_str("f16");
}

void add_limit_options(CLI::App& command, Options& options) {
  server::ServerLimits& limits = options.instance.server.limits;
  command.add_option("--answers", limits.answers_at_once, "Answers that are made at once; further ones wait")
      ->check(CLI::Range(1, 512))
      ->capture_default_str();
  command
      .add_option("--answers-waiting", limits.answers_waiting,
                  "Answers that wait; more are told to come again")
      ->check(CLI::Range(0, 65536))
      ->capture_default_str();
  command
      .add_option("--answer-time", options.answer_seconds,
                  "Seconds that the model may take for an answer, which then ends where it is; 0: no limit")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
  command
      .add_option("--drain", options.drain_seconds,
                  "Seconds that running answers get to finish when the server is told to stop")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
}

/// "36h", "30d".
std::string read_keep(const std::string& text, LiveOptions& live) {
  int64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  const std::string_view unit(end, text.data() + text.size());
  if (error != std::errc() || count <= 0 || count > 1'000'000 || (unit != "h" && unit != "d"))
    return "'" + text + "' is no time to keep posts for; write hours or days, such as 36h or 30d";
  live.keep_for = std::chrono::hours(unit == "d" ? 24 * count : count);
  return {};
}

void add_live_options(CLI::App& command, LiveOptions& live) {
  command
      .add_option("--keep", "Let posts go that are older than this by the feed's clock, such as 36h or 30d")
      ->each([&live](const std::string& text) {
        if (const std::string wrong = read_keep(text, live); !wrong.empty())
          throw CLI::ValidationError("--keep", wrong);
      })
      ->type_name("TIME");
  command
      .add_option("--keep-bytes", live.keep_bytes,
                  "Let the oldest posts go beyond so much disk: bytes, or with K, M, G")
      ->transform(CLI::AsSizeValue(false))
      ->type_name("BYTES");
  command
      .add_option("--segment-posts", live.segment_posts,
                  "Posts that are gathered in memory before they are sealed to a file")
      ->check(CLI::Range(100, 10'000'000))
      ->capture_default_str();
  command
      .add_option("--broker", live.broker,
                  "Send posts through a Kafka topic and take a share of it: HOST:PORT,topic=T,share=K/N")
      ->type_name("BROKER");
  command
      .add_option("--replica", live.replicas,
                  "Another replica, searched too; give each ($FATHOM_REPLICA_KEY is their API key)")
      ->type_name("URL");
  command.add_flag("!--words-only", live.meaning, "No search by meaning, though there is an embedding model");
  command.add_flag("--private-webhooks", live.private_webhooks,
                   "Let webhooks of standing queries go to this machine and private networks");
}

void add_access_options(CLI::App& command, Options& options) {
  server::ServerOptions& server = options.instance.server;
  command.add_option(
      "--api-key-file", options.key_file,
      "File of API keys that may do everything, one a line ($FATHOM_API_KEY adds one); 'fathom keys' "
      "makes named ones with roles");
  command.add_option("--audit-log", server.audit_file, "Write a line of JSON for each request of the API")
      ->type_name("FILE");
  CLI::Option* certificate = command
                                 .add_option("--tls-certificate", server.tls_certificate,
                                             "Speak TLS with this certificate chain (PEM)")
                                 ->type_name("FILE");
  CLI::Option* key =
      command.add_option("--tls-key", server.tls_key, "Its private key (PEM)")->type_name("FILE");
  certificate->needs(key);
  key->needs(certificate);
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
      "A source is world (fiction), none, auto, or KIND:PLACE,OPTION=VALUE,...: 'fathom sources kinds' lists "
      "kinds\nand options; give several by repeating it. Those that 'fathom sources add' wrote down are read "
      "besides; auto is\nthem alone, and where there are none Hacker News when it can be reached, else the "
      "sample world.");
  add_state_option(*command, instance.state);
  command
      ->add_option("--address", instance.server.address,
                   "Address to listen on; one that others reach needs a key")
      ->capture_default_str();
  CLI::Option* port =
      command->add_option("--port", instance.server.port, "Port; 0: any that is free")->capture_default_str();
  command->add_option("--source", instance.sources, "Where posts come from (see below)")
      ->capture_default_str();
  add_model_options(*command, instance);
  add_live_options(*command, instance.live);
  add_limit_options(*command, *options);
  add_access_options(*command, *options);
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
