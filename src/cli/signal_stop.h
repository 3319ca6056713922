// The user's wish to end, as a stop token: what SIGINT and SIGTERM (and whatever else is named) mean to a command that
// cleans up after itself.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <cstdlib>
#include <initializer_list>
#include <stop_token>
#include <thread>

namespace fathom::cli {

/// Blocks the signals for all threads to come, and waits for one of them on a thread of its own.
class SignalStop {
 public:
  explicit SignalStop(std::initializer_list<int> signals = {SIGINT, SIGTERM}) {
    sigemptyset(&signals_);
    for (const int signal : signals) sigaddset(&signals_, signal);
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  }
  std::stop_token token() const { return stop_.get_token(); }
  void listen() {
    std::thread([this] {
      int received = 0;
      sigwait(&signals_, &received);
      stop_.request_stop();
      sigset_t impatient = signals_;
      sigdelset(&impatient, SIGUSR1);  // a launcher asks more than once
      pthread_sigmask(SIG_UNBLOCK, &impatient, nullptr);
      sigwait(&impatient, &received);  // a second one does not wait for the drain
      std::_Exit(130);
    }).detach();
  }

 private:
  sigset_t signals_{};
  std::stop_source stop_;
};

}  // namespace fathom::cli
