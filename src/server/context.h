// What the endpoints work with, and how each group of them joins the router.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>

#include "server/metrics.h"
#include "server/router.h"
#include "server/server.h"

namespace fathom::server {

class Feed;

/// Lives as long as the server; the same for all requests.
struct Context {
  const ServerOptions& options;
  const Services& services;
  Metrics& metrics;
  Feed& feed;
  bool needs_key = false;
  std::function<Metrics::Gauges()> gauges;  // all but the store's
};

/// A post as the API shows it: live::to_json and its key.
nlohmann::json post_json(const live::Post& post);
/// The sources' status as a list; empty when the server was given none.
nlohmann::json sources_json(const Services& services);
/// {"id", "object":"model", "created", "owned_by", ...} of all that /v1/chat/completions takes.
nlohmann::json models_json(const Services& services);

void add_chat_routes(Router& router, const Context& context);
void add_post_routes(Router& router, const Context& context);
void add_search_routes(Router& router, const Context& context);
void add_feed_routes(Router& router, const Context& context);
void add_model_routes(Router& router, const Context& context);
void add_status_routes(Router& router, const Context& context);
void add_web_routes(Router& router, const Context& context);

}  // namespace fathom::server
