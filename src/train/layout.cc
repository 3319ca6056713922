#include "train/layout.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <limits>
#include <utility>

#include "base/error.h"
#include "base/text.h"

namespace fathom::train {
namespace {

constexpr size_t kMaxRanks = size_t{1} << 20;

[[noreturn]] void refuse(const std::string& sentence) { throw Error(ErrorCode::kInvalidArgument, sentence); }

/// Names and fields, in the order in which they are written.
std::array<std::pair<std::string_view, size_t Layout::*>, 6> fields() {
  return {{{"data", &Layout::data},
           {"tensor", &Layout::tensor},
           {"pipeline", &Layout::pipeline},
           {"expert", &Layout::expert},
           {"chunks", &Layout::chunks},
           {"zero", &Layout::zero}}};
}

size_t Layout::*field(std::string_view name, std::string_view word) {
  for (const auto& [known, member] : fields())
    if (name == known) return member;
  refuse(fmt::format(
      "layout '{}': the words are data, tensor, pipeline, expert, chunks and zero, each NAME=NUMBER", word));
}

void set(Layout& layout, std::string_view word) {
  const size_t equals = word.find('=');
  size_t Layout::*member = field(word.substr(0, equals), word);
  const std::string_view digits = equals == std::string_view::npos ? "" : word.substr(equals + 1);
  size_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  const bool whole = error == std::errc() && end == digits.data() + digits.size();
  const bool zero = member == &Layout::zero;
  if (!whole || value < (zero ? 0u : 1u) || value > (zero ? 2u : kMaxRanks))
    refuse(fmt::format("layout '{}': it must be a number from {}", word, zero ? "0 to 2" : "1 to 1048576"));
  layout.*member = value;
}

void divides(size_t part, std::string_view part_name, size_t whole, std::string_view whole_name) {
  if (part > 0 && whole % part == 0) return;
  refuse(fmt::format("layout: {}={} does not divide {} ({})", part_name, part, whole_name, whole));
}

void check_tensor(const Layout& layout, const model::ModelConfig& config, size_t tokens) {
  divides(layout.tensor, "tensor", config.heads, "the heads");
  divides(layout.tensor, "tensor", config.kv_heads, "the heads of keys and values");
  if (config.has_dense_ffn()) divides(layout.tensor, "tensor", config.ffn, "the width of the feed-forward");
  if (!config.dense()) divides(layout.tensor, "tensor", config.experts.ffn, "the width of an expert");
  divides(layout.tensor, "tensor", tokens, "the tokens of a micro-batch");
}

void check_pipeline(const Layout& layout, const model::ModelConfig& config, size_t micro_batches) {
  if (layout.pipeline * layout.chunks > config.layers)
    refuse(fmt::format("layout: pipeline={} and chunks={} are more parts than the model has layers ({})",
                       layout.pipeline, layout.chunks, config.layers));
  if (layout.chunks == 1) return;
  if (layout.pipeline == 1) refuse("layout: chunks are parts of a pipeline, so they need pipeline above 1");
  divides(layout.pipeline, "pipeline", micro_batches, "the micro-batches a rank, as chunks need");
}

void check_expert(const Layout& layout, const model::ModelConfig& config) {
  if (layout.expert == 1) return;
  if (config.dense()) refuse(fmt::format("layout: expert={}, but the model has no experts", layout.expert));
  divides(layout.expert, "expert", layout.data, "data");
  divides(layout.expert, "expert", config.experts.count, "the experts");
}

}  // namespace

Layout Layout::parse(std::string_view line) {
  Layout layout;
  for (const std::string_view part : split(line, ' '))
    for (const std::string_view word : split(part, ','))
      if (!trim(word).empty()) set(layout, trim(word));
  if (layout.data > kMaxRanks / layout.tensor || layout.data * layout.tensor > kMaxRanks / layout.pipeline)
    refuse(fmt::format("layout '{}': more than {} ranks", trim(line), kMaxRanks));
  return layout;
}

std::string Layout::line() const {
  std::string text;
  for (const auto& [name, member] : fields())
    if (this->*member != (Layout{}.*member))
      text += fmt::format("{}{}={}", text.empty() ? "" : " ", name, this->*member);
  return text.empty() ? "data=1" : text;
}

void Layout::check(const model::ModelConfig& config, size_t sequences, size_t length,
                   size_t micro_batches) const {
  check_tensor(*this, config, sequences * length);
  check_pipeline(*this, config, micro_batches);
  check_expert(*this, config);
  if (zero > 2) refuse(fmt::format("layout: zero={} is none of 0, 1 and 2", zero));
}

Place Place::of(const Layout& layout, size_t rank) {
  Place place;
  place.tensor = rank % layout.tensor;
  place.data = rank / layout.tensor % layout.data;
  place.stage = rank / layout.tensor / layout.data;
  place.expert = place.data % layout.expert;
  return place;
}

LayerRange layers_of(const Layout& layout, size_t layers, size_t stage, size_t chunk) {
  const size_t parts = layout.pipeline * layout.chunks;
  const size_t part = chunk * layout.pipeline + stage;
  return {layers * part / parts, layers * (part + 1) / parts};
}

Groups make_groups(const Layout& layout, std::unique_ptr<Communicator> world) {
  if (world->size() != layout.ranks())
    refuse(fmt::format("layout '{}' is for {} ranks, and the job has {}", layout.line(), layout.ranks(),
                       world->size()));
  Groups groups;
  groups.layout = layout;
  groups.place = Place::of(layout, world->rank());
  const Place& p = groups.place;
  const size_t column = p.stage * layout.tensor + p.tensor;  // ranks that differ in `data` alone
  groups.data = world->split(column, p.data);
  groups.expert_data = groups.data->split(p.expert, p.data);
  groups.expert = groups.data->split(p.data / layout.expert, p.data);
  groups.tensor = world->split(p.stage * layout.data + p.data, p.tensor);
  groups.pipeline = world->split(p.data * layout.tensor + p.tensor, p.stage);
  const bool end = groups.first_stage() || groups.last_stage();
  auto embedding = groups.pipeline->split(end ? 0 : 1, p.stage);
  if (end && layout.pipeline > 1) groups.embedding = std::move(embedding);
  groups.world = std::move(world);
  return groups;
}

}  // namespace fathom::train
