#include "live/broker/publishing_store.h"

namespace fathom::live {

IngestResult PublishingStore::ingest(std::vector<Post> posts) {
  publisher_.publish(posts);
  IngestResult result;
  for (const Post& post : posts) ++(post.deleted ? result.deleted : result.added);
  return result;
}

}  // namespace fathom::live
