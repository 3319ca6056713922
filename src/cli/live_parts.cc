#include "cli/live_parts.h"

#include "cli/text_embedder.h"
#include "live/sources/kafka.h"

namespace fathom::cli {
namespace {

constexpr const char* kBrokerSource = "broker";

live::StoreOptions store_options(const LiveOptions& options, const std::filesystem::path& folder) {
  live::StoreOptions out;
  out.folder = folder;
  out.keep_for = options.keep_for;
  out.keep_bytes = options.keep_bytes;
  out.segment_posts = options.segment_posts;
  return out;
}

}  // namespace

LiveParts::LiveParts(const LiveOptions& options, const std::filesystem::path& folder, Transport& transport,
                     const Clock& clock)
    : options_(options), folder_(folder), own_(live::Store::open(store_options(options, folder), clock)) {
  cursors_ = live::open_cursor_file(folder / "cursors.json");
  if (!options.broker.empty()) {
    const live::KafkaOptions broker = live::parse_broker(options.broker);
    publisher_ = live::KafkaPublisher::open(broker);
    published_ = std::make_unique<live::PublishingStore>(*own_, *publisher_);
    from_broker_ = std::make_unique<live::SourceRunner>(*own_, *cursors_, clock);
    from_broker_->add(live::make_kafka_source(broker, kBrokerSource, clock));
  }
  if (!options.replicas.empty())
    replicas_ = std::make_unique<live::Replicas>(
        published(), transport,
        live::ReplicaOptions{.urls = options.replicas, .api_key = options.replica_key});
  runner_ = std::make_unique<live::SourceRunner>(published(), *cursors_, clock);
  trends_ = std::make_unique<live::Trends>(*own_);
  live::StandingQueries::Options standing;
  standing.file = folder_ / "standing.json";
  standing.allow_private = options.private_webhooks;
  standing_ = std::make_unique<live::StandingQueries>(*own_, transport, clock, standing);
}

LiveParts::~LiveParts() { stop(); }

void LiveParts::embed_with(infer::Embedder& model, std::function<bool()> busy) {
  if (!options_.meaning) return;
  embedder_ = make_text_embedder(model);
  live::VectorOptions vectors;
  vectors.folder = folder_ / "vectors";
  vectors.busy = std::move(busy);
  vectors_ = std::make_unique<live::VectorIndex>(*own_, *embedder_, vectors);
}

void LiveParts::stop() {
  if (runner_) runner_->stop();
  if (from_broker_) from_broker_->stop();
}

std::vector<live::SourceStatus> LiveParts::sources() const {
  auto all = runner_->status();
  if (from_broker_)
    for (auto& status : from_broker_->status()) all.push_back(std::move(status));
  return all;
}

}  // namespace fathom::cli
