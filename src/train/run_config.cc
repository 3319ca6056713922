#include "train/run_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "model/description.h"

namespace fathom::train {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMostSequences = int64_t{1} << 24;
constexpr int64_t kMostLength = int64_t{1} << 24;
constexpr int64_t kMostSteps = int64_t{1} << 40;
constexpr size_t kMostFile = size_t{4} << 20;

float number(const TomlTable& table, std::string_view key, float otherwise, double low, double high) {
  return static_cast<float>(table.number_or(key, static_cast<double>(otherwise), low, high));
}

/// Tensors apart from each other, as training has them, and what GGUF takes for granted of an architecture, so that what is
/// trained is what an exported file says.
void follow_training(model::ModelConfig& c) {
  c.layout.fused_qkv = c.layout.fused_gate_up = c.layout.single_experts = false;
  if (c.architecture == "llama" || c.architecture == "mistral")
    c.rope.pairing = model::RopePairing::kNeighbours;
  if (c.architecture == "grok") c.layout.attention_post_norm = "attn_output_norm";
}

/// Reads one file; paths in it are relative to its folder.
class Reader {
 public:
  Reader(TomlTable root, fs::path presets, RunConfig& out)
      : root_(std::move(root)), presets_(std::move(presets)), out_(out) {}

  void read() {
    root_.allow({"seed", "layout", "precision", "recompute", "folder", "model", "data", "batch", "optimiser",
                 "loss", "schedule", "lora", "checkpoint", "evaluate"});
    read_run();
    read_model();
    read_data();
    read_batch();
    read_optimiser();
    read_schedule();
    read_lora();
    read_habits();
    check_layout();
  }

 private:
  fs::path resolved(const std::string& path) const {
    return (out_.file.parent_path() / path).lexically_normal();
  }
  fs::path path_or(const TomlTable& table, std::string_view key, const fs::path& otherwise) const {
    return table.has(key) ? resolved(table.text(key)) : otherwise;
  }

  void read_run() {
    out_.seed = static_cast<uint64_t>(root_.integer_or("seed", 1, 0, INT64_MAX));
    try {
      out_.layout = Layout::parse(root_.text_or("layout", "data=1"));
    } catch (const Error& error) {
      root_.error("layout", error.what());
    }
    const size_t precision = root_.choice_or("precision", 0, {"auto", "f32", "bf16"});
    const bool bf16 = precision == 2 || (precision == 0 && tensor::has_fast_bf16());
    out_.precision = bf16 ? tensor::Precision::kBF16 : tensor::Precision::kF32;
    out_.recompute = static_cast<Recompute>(root_.choice_or("recompute", 1, {"none", "selective", "full"}));
    out_.folder = path_or(root_, "folder", fs::path(out_.file).replace_extension());
    if (out_.folder == out_.file)
      root_.error("folder", "is needed where the file's name does not end in .toml");
  }

  void read_model() {
    const TomlTable t = root_.table("model");
    t.allow({"description", "file", "deviation"});
    if (t.has("description") == t.has("file")) t.error("[model] needs either description or file");
    out_.deviation = number(t, "deviation", 0.02f, 0, 10);
    if (t.has("file")) {
      out_.model_file = resolved(t.text("file"));
      const auto file = model::GgufFile::open(out_.model_file, model::GgufContents::kDescription);
      out_.model = model::ModelConfig::from_gguf(file);
    } else {
      const std::string named = t.text("description");
      const fs::path path = resolved(named);
      out_.model =
          model::read_description(fs::exists(path) ? path : model::find_description(presets_, named));
    }
    follow_training(out_.model);
  }

  void read_data() {
    const TomlTable t = root_.table("data");
    t.allow({"train", "held_out", "length", "tokenizer"});
    out_.train = resolved(t.text("train"));
    out_.held_out = path_or(t, "held_out", {});
    out_.length =
        static_cast<size_t>(t.integer_or("length", static_cast<int64_t>(out_.model.context), 2, kMostLength));
    if (out_.length > out_.model.context)
      t.error("length",
              fmt::format("is {}, more than the model's context of {}", out_.length, out_.model.context));
    const fs::path beside =
        out_.train.parent_path() / "tokenizer.gguf";  // as `fathom data prepare` leaves it
    const fs::path usual = out_.model_file.empty() && fs::exists(beside) ? beside : out_.model_file;
    out_.tokenizer = path_or(t, "tokenizer", usual);
  }

  void read_batch() {
    const TomlTable t = root_.table("batch");
    t.allow({"sequences", "micro"});
    out_.sequences = static_cast<size_t>(t.integer("sequences", 1, kMostSequences));
    out_.micro = static_cast<size_t>(t.integer_or("micro", 1, 1, kMostSequences));
    if (out_.sequences % (out_.micro * out_.layout.data) != 0)
      t.error(fmt::format("{} sequences are no whole number of micro-batches of {} on each of {} data ranks",
                          out_.sequences, out_.micro, out_.layout.data));
  }

  void read_optimiser() {
    const TomlTable t = root_.table("optimiser");
    t.allow({"beta1", "beta2", "epsilon", "weight_decay", "clip", "average"});
    OptimiserOptions& o = out_.optimiser;
    o.beta1 = number(t, "beta1", o.beta1, 0, 0.99999);
    o.beta2 = number(t, "beta2", o.beta2, 0, 0.99999);
    o.epsilon = number(t, "epsilon", o.epsilon, 1e-30, 1);
    o.weight_decay = number(t, "weight_decay", o.weight_decay, 0, 10);
    o.clip = number(t, "clip", o.clip, 0, 1e6);
    o.ema_decay = number(t, "average", 0, 0, 0.999999);
    const TomlTable loss = root_.table("loss");
    loss.allow({"z", "balance", "capacity"});
    out_.z_loss = number(loss, "z", 0, 0, 1);
    out_.balance_weight = number(loss, "balance", out_.balance_weight, 0, 10);
    out_.capacity_factor = number(loss, "capacity", 0, 0, 1000);
  }

  void read_schedule() {
    const TomlTable t = root_.table("schedule");
    t.allow({"kind", "learning_rate", "floor", "warmup", "decay", "steps", "tokens"});
    if (t.has("steps") == t.has("tokens")) t.error("[schedule] needs either steps or tokens");
    LearningRate& s = out_.schedule;
    s.schedule = static_cast<Schedule>(t.choice_or("kind", 1, {"constant", "cosine", "wsd"}));
    s.peak = number(t, "learning_rate", s.peak, 0, 1e30);
    s.floor = number(t, "floor", s.floor, 0, 1);
    const double per_step = static_cast<double>(out_.tokens_per_step());
    s.steps = t.has("steps") ? static_cast<uint64_t>(t.integer("steps", 1, kMostSteps))
                             : static_cast<uint64_t>(std::ceil(t.number("tokens", 1, 1e18) / per_step));
    const auto steps = static_cast<int64_t>(s.steps);
    s.warmup = static_cast<uint64_t>(t.integer_or("warmup", std::min<int64_t>(100, steps / 10), 0, steps));
    s.decay = static_cast<uint64_t>(t.integer_or("decay", steps / 5, 0, steps));
    try {
      s.check();
    } catch (const Error& error) {
      t.error(error.what());
    }
  }

  void read_lora() {
    if (!root_.has("lora")) return;
    const TomlTable t = root_.table("lora");
    t.allow({"rank", "alpha", "matrices", "prompt"});
    if (t.has("prompt")) t.choice("prompt", {"cited"});
    out_.adapter_prompt = t.text_or("prompt", "");
    if (out_.model_file.empty()) t.error("[lora] needs a model to adapt: [model] file");
    out_.lora.rank = static_cast<size_t>(t.integer("rank", 1, 4096));
    out_.lora.alpha = number(t, "alpha", out_.lora.alpha, 0, 1e6);
    out_.lora.matrices = t.has("matrices")
                             ? t.texts("matrices")
                             : std::vector<std::string>{"attn_q",   "attn_k", "attn_v",  "attn_output",
                                                        "ffn_gate", "ffn_up", "ffn_down"};
    if (out_.lora.matrices.empty()) t.error("matrices", "names none");
    constexpr std::string_view kKnown[] = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                           "ffn_gate", "ffn_up", "ffn_down"};
    for (const std::string& name : out_.lora.matrices)
      if (std::find(std::begin(kKnown), std::end(kKnown), name) == std::end(kKnown))
        t.error("matrices", fmt::format("names '{}', which is none of: {}", name,
                                        "attn_q, attn_k, attn_v, attn_output, ffn_gate, ffn_up, ffn_down"));
  }

  void read_habits() {
    const TomlTable c = root_.table("checkpoint");
    c.allow({"steps", "minutes", "keep"});
    out_.checkpoint_steps = static_cast<uint64_t>(c.integer_or("steps", 500, 0, kMostSteps));
    out_.checkpoint_minutes = c.number_or("minutes", 30, 0, 1e6);
    out_.checkpoints_kept = static_cast<size_t>(c.integer_or("keep", 3, 1, 1'000'000));
    const TomlTable e = root_.table("evaluate");
    e.allow({"every", "batches"});
    out_.evaluate_every = static_cast<uint64_t>(e.integer_or("every", 500, 0, kMostSteps));
    out_.evaluate_batches = static_cast<size_t>(e.integer_or("batches", 8, 1, 1'000'000));
  }

  void check_layout() const {
    try {
      out_.layout.check(out_.model, out_.micro, out_.length, out_.micro_batches());
    } catch (const Error& error) {
      root_.error("layout", error.what());
    }
  }

  TomlTable root_;
  fs::path presets_;
  RunConfig& out_;
};

RunConfig from_text(std::string text, const fs::path& file, std::vector<std::string> changes,
                    const fs::path& presets) {
  RunConfig out;
  out.file = fs::absolute(file).lexically_normal();
  out.text = std::move(text);
  out.changes = std::move(changes);
  Reader(TomlTable::parse(out.text, file.string()).changed(out.changes), presets, out).read();
  return out;
}

}  // namespace

std::string RunConfig::as_json() const {
  return nlohmann::json{{"file", file.string()}, {"text", text}, {"changes", changes}}.dump(
      -1, ' ', false, nlohmann::json::error_handler_t::replace);
}

RunConfig read_run(const fs::path& file, const std::vector<std::string>& changes, const fs::path& presets) {
  return from_text(read_file(file, kMostFile), file, changes, presets);
}

RunConfig parse_run(std::string_view json_text, const fs::path& presets) {
  const auto json = nlohmann::json::parse(json_text, nullptr, false);
  const auto text = [&](const char* key) {
    const auto found = json.is_object() ? json.find(key) : json.end();
    if (!json.is_object() || found == json.end() || !found->is_string())
      throw Error(ErrorCode::kCorrupt, fmt::format("the run's record has no '{}'; name its .toml file", key));
    return found->get<std::string>();
  };
  std::vector<std::string> changes;
  if (json.is_object() && json.contains("changes") && json["changes"].is_array())
    for (const auto& change : json["changes"])
      if (change.is_string()) changes.push_back(change.get<std::string>());
  return from_text(text("text"), text("file"), std::move(changes), presets);
}

}  // namespace fathom::train
