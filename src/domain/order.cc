#include "domain/order.h"

#include <algorithm>
#include <set>

namespace gpuward {
namespace {

const std::vector<StartLink>& links_from(const StartLinks& links, const std::string& name) {
  static const std::vector<StartLink> kNone;
  const auto at = links.find(name);
  return at == links.end() ? kNone : at->second;
}

// A walk in depth along the links, without recursion: a chain may be as long as there are services.
class Walk {
 public:
  explicit Walk(const StartLinks& links) : links_(links) {}

  // @p leave is called with each name once everything it is linked to was left; @p circle with the
  // way from a name on the path to the one that leads back to it.
  template <class Leave, class Circle>
  void from(const std::string& name, Leave&& leave, Circle&& circle) {
    if (!enter(name)) return;
    while (!path_.empty()) {
      auto& step = path_.back();
      const auto& links = links_from(links_, step.name);
      if (step.next == links.size()) {
        states_[step.name] = State::left;
        leave(step.name);
        path_.pop_back();
        continue;
      }
      const std::string& to = links[step.next++].to;
      if (!enter(to) && states_[to] == State::on_path) circle(path_to(to));
    }
  }

 private:
  enum class State : std::uint8_t { fresh, on_path, left };
  struct Step {
    std::string name;
    std::size_t next = 0;
  };

  bool enter(const std::string& name) {
    State& state = states_[name];
    if (state != State::fresh) return false;
    state = State::on_path;
    path_.push_back({name});
    return true;
  }

  std::vector<std::string> path_to(const std::string& name) const {
    std::vector<std::string> names;
    for (auto at = std::ranges::find(path_, name, &Step::name); at != path_.end(); ++at)
      names.push_back(at->name);
    return names;
  }

  const StartLinks& links_;
  std::vector<Step> path_;
  std::map<std::string, State> states_;
};

std::string join(const std::vector<std::string>& names, const char* between = ", ") {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : between) + name;
  return text;
}

}  // namespace

std::vector<StartLink> links_of(const std::vector<std::string>& needs,
                                const std::vector<std::string>& after) {
  std::vector<StartLink> links;
  const auto add = [&](const std::string& name, bool needed) {
    if (std::ranges::find(links, name, &StartLink::to) == links.end())
      links.push_back({name, needed});
  };
  for (const auto& name : needs) add(name, true);
  for (const auto& name : after) add(name, false);
  return links;
}

StartLinks links_of(const std::vector<ServiceModel>& services) {
  StartLinks all;
  for (const auto& service : services)
    if (auto links = links_of(service.needs, service.after); !links.empty())
      all[service.name] = std::move(links);
  return all;
}

std::vector<std::string> in_start_order(const StartLinks& links, std::vector<std::string> names) {
  std::ranges::sort(names);
  names.erase(std::ranges::unique(names).begin(), names.end());
  StartLinks among;  // a link to one that is not named orders nothing here
  for (const auto& name : names)
    for (const auto& link : links_from(links, name))
      if (std::ranges::binary_search(names, link.to)) among[name].push_back(link);
  std::vector<std::string> ordered;
  ordered.reserve(names.size());
  Walk walk(among);
  for (const auto& name : names)
    walk.from(
        name, [&](const std::string& done) { ordered.push_back(done); },
        [](const std::vector<std::string>&) {});
  return ordered;
}

std::vector<std::string> with_needed(const StartLinks& links,
                                     const std::vector<std::string>& names) {
  std::set<std::string> all(names.begin(), names.end());
  std::vector<std::string> fresh(all.begin(), all.end());
  while (!fresh.empty()) {
    const std::string name = std::move(fresh.back());
    fresh.pop_back();
    for (const auto& link : links_from(links, name))
      if (link.needed && all.insert(link.to).second) fresh.push_back(link.to);
  }
  return {all.begin(), all.end()};
}

std::vector<std::string> who_needs(const StartLinks& links, const std::string& name) {
  StartLinks back;
  for (const auto& [from, to] : links)
    for (const auto& link : to)
      if (link.needed) back[link.to].push_back({from, true});
  auto all = with_needed(back, {name});
  std::erase(all, name);
  return all;
}

std::string not_stopped_text(const std::string& name, const std::vector<std::string>& living) {
  auto all = living;
  all.push_back(name);
  std::ranges::sort(all);
  return "not stopped: required by " + join(living) +
         (living.size() == 1 ? ", which runs" : ", which run") +
         "; to stop all of them: gpuward stop " + join(all, " ");
}

std::vector<std::vector<std::string>> circles(const StartLinks& links) {
  std::vector<std::vector<std::string>> found;
  Walk walk(links);
  for (const auto& [name, to] : links)
    walk.from(
        name, [](const std::string&) {},
        [&](std::vector<std::string> circle) { found.push_back(std::move(circle)); });
  return found;
}

std::chrono::milliseconds longest_chain(
    const StartLinks& links, const std::vector<std::string>& names,
    const std::function<std::chrono::milliseconds(const std::string&)>& own) {
  std::map<std::string, std::chrono::milliseconds> until;
  std::chrono::milliseconds longest{0};
  for (const auto& name : in_start_order(links, names)) {
    std::chrono::milliseconds before{0};
    for (const auto& link : links_from(links, name))
      if (const auto at = until.find(link.to); at != until.end())
        before = std::max(before, at->second);
    longest = std::max(longest, until[name] = before + own(name));
  }
  return longest;
}

Gate gate_of(const std::vector<StartLink>& links,
             const std::function<Standing(const std::string&)>& standing) {
  std::vector<std::string> coming;
  std::vector<std::string> retried;
  for (const auto& link : links) {
    const Standing at = standing(link.to);
    if (link.needed && at == Standing::failed)
      return {Gate::Way::closed, "it requires '" + link.to + "', which failed", false, link.to};
    if (link.needed && at == Standing::absent)
      return {Gate::Way::closed, "it requires '" + link.to + "', which does not run", false,
              link.to};
    if (at == Standing::coming) coming.push_back(link.to);
    if (at == Standing::retried && link.needed) retried.push_back(link.to);
  }
  if (coming.empty() && retried.empty()) return {};
  Gate gate{Gate::Way::wait, "waits for " + join(coming), coming.empty(), {}};
  if (!retried.empty())
    gate.text += (coming.empty() ? "" : ", and for ") + join(retried) +
                 (retried.size() == 1 ? ", which failed and is tried again"
                                      : ", which failed and are tried again");
  return gate;
}

}  // namespace gpuward
