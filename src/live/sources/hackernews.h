// Hacker News over its public API (https://github.com/HackerNews/API): stories, jobs and polls with their title, address and
// text, comments as replies. No key is needed.
//
// At the first start the front page, the newest stories and the latest items are read; then every new item as it
// appears, every change that the API announces, and the scores of the front page from time to time. Changes arrive over the
// API's event stream; while that is silent or refused, they are polled. The cursor is the last item up to which everything
// was read; after a restart the gap is filled when it is not too long.
#pragma once

#include <chrono>
#include <memory>
#include <stop_token>
#include <string>

#include "base/clock.h"
#include "base/transport.h"
#include "live/source.h"

namespace fathom::live {

struct HackerNewsOptions {
  std::string api_url = "https://hacker-news.firebaseio.com/v0";
  std::string site_url = "https://news.ycombinator.com";  // of the pages that posts link to
  std::string name = "hackernews";                        // of the source
  std::string post_source = "hackernews";                 // of its posts
  size_t front_page = 60;         // stories of the front page: read at the start, their scores afterwards
  size_t backfill_stories = 300;  // newest stories read at the first start
  size_t backfill_items = 500;    // latest items of any kind read at the first start
  size_t catch_up_items = 5000;   // a longer gap after a restart is not filled but backfilled
  size_t parallel = 8;            // requests at a time
  bool stream = true;             // use the event stream when it works
  std::chrono::milliseconds timeout{15000};         // of a request
  std::chrono::milliseconds stream_silence{75000};  // the API sends a sign of life every 30 s
  std::chrono::milliseconds poll{5000};             // without the event stream
  std::chrono::milliseconds check{60000};           // with it: in case it falls silent unnoticed
  std::chrono::milliseconds changes{30000};   // between polls of changed items, without the event stream
  std::chrono::milliseconds refresh{120000};  // of the front page's scores
  std::chrono::milliseconds late_retry{
      3000};  // an item that is not there yet; four tries, each after four times as long
};

/// `transport` and `clock` outlive the source. Errors of `run`: those of Transport, kResourceExhausted when the API asks to
/// slow down, kNetwork when it answers nothing but errors.
std::unique_ptr<Source> make_hackernews_source(const HackerNewsOptions& options, Transport& transport,
                                               const Clock& clock);

/// Whether the API answers within `timeout`. Never throws.
bool hackernews_reachable(const HackerNewsOptions& options, Transport& transport,
                          std::chrono::milliseconds timeout, const std::stop_token& stop = {});

}  // namespace fathom::live
