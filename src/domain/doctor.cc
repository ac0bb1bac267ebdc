#include "domain/doctor.h"

#include <algorithm>
#include <array>

#include "base/utf8.h"

namespace gpuward {
namespace {

Finding ok(std::string check, std::string found) {
  return {std::move(check), Grade::ok, std::move(found), {}, {}};
}

Finding unseen(std::string check, std::string found) {
  return {std::move(check), Grade::unseen, std::move(found), {}, {}};
}

void add_word(std::string& list, std::string_view word) {
  if (!list.empty()) list += ", ";
  list += word;
}

std::string count_of(std::uint64_t n, std::string_view thing) {
  return std::to_string(n) + " " + std::string(thing) + (n == 1 ? "" : "s");
}

}  // namespace

Finding check_kernel(const KernelFacts& facts) {
  std::string have;
  std::string lack;
  add_word(facts.pidfd ? have : lack, "pidfd");
  add_word(facts.clone_into_cgroup ? have : lack, "clone3 into a cgroup");
  add_word(facts.proc_children ? have : lack, "children in /proc");
  add_word(facts.exit_info ? have : lack, "exit status by pidfd");
  add_word(facts.pid_namespace ? have : lack, "PID namespaces");
  Finding finding = ok("kernel", "Linux " + printable(facts.release) + ": " +
                                     (have.empty() ? "none of its mechanisms" : have) +
                                     (lack.empty() ? "" : "; not here: " + lack));
  if (!facts.pidfd) {
    finding.grade = Grade::warn;
    finding.cost =
        "signals are sent by number after a look at the start time: microseconds remain "
        "in which the number may change hands";
    finding.mend = "a kernel of 5.3 or later, or a sandbox that allows pidfd_open";
  }
  // The others have fall-backs that promise as much.
  return finding;
}

namespace {

Finding check_containment(const CgroupFacts& facts, bool pid_namespace) {
  Finding finding = ok("containment", std::string(to_string(facts.level)));
  if (facts.level != Containment::subreaper) {
    finding.found += ": " + printable(facts.place);
    if (!facts.kill) finding.found += "; without cgroup.kill: processes are ended one by one";
    if (!facts.freeze) {
      finding.grade = Grade::warn;
      finding.found += "; without freezing";
      finding.cost = "a tree that forks while it is ended takes longer to end";
      finding.mend = "cgroup2 of Linux 5.2 or later, or the v1 freezer";
    }
    return finding;
  }
  finding.grade = Grade::warn;
  finding.found += ": no cgroup, because " + printable(facts.why_none);
  finding.cost = std::string(limits_of(Containment::subreaper));
  finding.mend = pid_namespace
                     ? "containment = \"pidns\" holds every process here; or let gpuward make "
                       "cgroups: run the warden by its systemd unit (Delegate=yes), or as root"
                     : "run the warden by its systemd unit (Delegate=yes), or as root";
  return finding;
}

}  // namespace

std::vector<Finding> check_cgroups(const CgroupFacts& facts, bool pid_namespace) {
  std::vector<Finding> findings = {check_containment(facts, pid_namespace)};
  if (facts.why_no_memory.empty() && facts.why_no_cpu.empty()) {
    findings.push_back(ok("limits", "memory_max and cpu_weight can hold"));
    return findings;
  }
  Finding limits = unseen("limits", "");
  if (!facts.why_no_memory.empty())
    limits.found = "memory_max cannot hold: " + printable(facts.why_no_memory);
  if (!facts.why_no_cpu.empty())
    limits.found += (limits.found.empty() ? "" : "; ") + std::string("cpu_weight cannot hold: ") +
                    printable(facts.why_no_cpu);
  limits.cost = "a service with memory_max is refused, one with cpu_weight runs without it";
  findings.push_back(std::move(limits));
  return findings;
}

Finding check_folder(const FolderFacts& facts) {
  const std::string name = "disk " + facts.name;
  if (!facts.why_unseen.empty())
    return unseen(name, printable(facts.path) + ": " + printable(facts.why_unseen));
  Finding finding =
      ok(name, printable(facts.path) + ": " + to_string(facts.free) + " of " +
                   to_string(facts.size) + " free" + (facts.in_memory ? " (in memory)" : ""));
  const Bytes none = facts.in_memory ? 1_MiB : 64_MiB;
  const Bytes few = facts.in_memory ? 16_MiB : 1_GiB;
  const bool tight =
      !facts.in_memory && facts.free < 20_GiB && facts.free.count < facts.size.count / 20;
  const bool no_files = facts.files != 0 && facts.files_free < 100;
  if (no_files) finding.found += ", room for " + count_of(facts.files_free, "more file");
  if (facts.free < none || no_files)
    finding.grade = Grade::fail;
  else if (facts.free < few || tight)
    finding.grade = Grade::warn;
  if (finding.grade == Grade::ok) return finding;
  finding.cost = facts.name == "log"     ? "what services print is lost once it is full"
                 : facts.name == "state" ? "nothing can be recorded once it is full"
                 : facts.name == "run"   ? "no service can be started once it is full"
                                         : "services that write there fail once it is full";
  finding.mend = "make room: du -xh --max-depth=2 " + printable(facts.path);
  return finding;
}

Finding check_swap(const std::optional<std::vector<SwapArea>>& areas) {
  if (!areas) return unseen("swap", "/proc/swaps cannot be read");
  Finding finding = ok("swap", "none");
  std::string on_disk;
  Bytes size;
  Bytes used;
  for (const auto& area : *areas) {
    if (area.in_memory()) {
      finding.found = "in compressed memory only";
      continue;
    }
    add_word(on_disk, printable(area.name));
    size += area.size;
    used += area.used;
  }
  if (on_disk.empty()) return finding;
  finding.grade = Grade::warn;
  finding.found = to_string(size) + " on " + on_disk + ", " + to_string(used) + " of it used";
  finding.cost =
      "what services hold in memory, films too, may be written to disk and stay there; "
      "a GPU waits while its process is swapped in";
  finding.mend =
      "swapoff -a, and its line out of /etc/fstab; or swap that is encrypted with a "
      "key of each boot";
  return finding;
}

Finding check_temp_folders(const std::vector<TempFolderFacts>& folders,
                           const std::string& why_unseen) {
  constexpr auto kOld = std::chrono::hours(24);
  if (!why_unseen.empty()) return unseen("temp folders", printable(why_unseen));
  Finding finding = ok("temp folders", "");
  const TempFolderFacts* old = nullptr;  // the oldest of those that are too old
  for (const auto& folder : folders) {
    if (folder.files == 0) continue;
    add_word(finding.found, printable(folder.name) + " holds " +
                                (folder.whole ? "" : "more than ") + to_string(folder.size) +
                                " in " + count_of(folder.files, "file") + ", the oldest of " +
                                to_string(std::chrono::nanoseconds(folder.oldest)) + " ago");
    if (folder.oldest >= kOld && (old == nullptr || folder.oldest > old->oldest)) old = &folder;
  }
  if (finding.found.empty())
    finding.found = folders.empty() ? "none (no service has private_tmp)" : "empty";
  if (old == nullptr) return finding;
  finding.grade = Grade::warn;
  finding.cost =
      "what a service was sent may lie there, films too, until nobody has used it for "
      "'private_tmp.max_age', or until its next start or stop";
  std::string name = old->name;
  if (name.ends_with(".old")) name.resize(name.size() - 4);  // laid aside, and being emptied
  finding.mend = "gpuward restart " + printable(name.substr(0, name.rfind('.'))) +
                 " empties its folder; a program that leaves files behind wants a look";
  return finding;
}

Finding check_core(const CoreFacts& facts) {
  if (!facts.pattern) return unseen("core dumps", "kernel.core_pattern cannot be read");
  const std::string pattern = printable(*facts.pattern);
  const bool piped = pattern.starts_with('|');
  const std::string limit = facts.soft == 0            ? "off"
                            : facts.soft == kUnlimited ? "without limit"
                                                       : "up to " + to_string(Bytes{facts.soft});
  Finding finding = ok("core dumps", limit + ", to " + (pattern.empty() ? "nowhere" : pattern));
  // A program behind a pipe is started whatever the limit (core(5)); systemd's heeds it.
  const bool heeds = !piped || pattern.find("systemd-coredump") != std::string::npos;
  if (pattern.empty() || (facts.soft == 0 && heeds)) return finding;
  finding.grade = Grade::warn;
  finding.cost = "a service that crashes may leave its memory on disk, films and prompts in it";
  finding.mend = piped && facts.soft == 0 ? "see that the program behind the pipe keeps none"
                                          : "limits = { core = 0 } in each service";
  return finding;
}

Finding check_kernel_log(const std::string& why_not) {
  if (why_not.empty()) return ok("kernel log", "can be read");
  return {"kernel log", Grade::warn, "cannot be read: " + printable(why_not),
          "Xids, the driver's own words on what went wrong, are not seen",
          "run the warden as root, or give it CAP_SYSLOG (and kernel.dmesg_restrict = 0)"};
}

Finding check_clock(std::optional<bool> synchronised) {
  if (!synchronised) return unseen("clock", "the kernel does not say whether it is synchronised");
  if (*synchronised) return ok("clock", "synchronised");
  return {"clock", Grade::warn, "not synchronised with any other",
          "times in the ledger cannot be compared with those of other machines",
          "run a time service (chrony, systemd-timesyncd, or the host's)"};
}

namespace {

Finding check_anchors(const WardenFacts& facts) {
  Finding finding = ok("anchors", count_of(facts.anchors, "tree") + " held");
  if (facts.unowned != 0) {
    finding.grade = Grade::fail;
    finding.found += ", " + count_of(facts.unowned, "tree") + " without its anchor";
    finding.cost = "nobody restarts it, carries its output or ends it";
    finding.mend = "gpuward up takes it over";
  } else if (facts.anchors_silent != 0) {
    finding.grade = Grade::fail;
    finding.found += ", " + std::to_string(facts.anchors_silent) + " of them silent";
    finding.cost = "its service runs on, but cannot be stopped through it";
    finding.mend = "gpuward status names it; is it stopped (SIGSTOP), or stuck in the kernel?";
  }
  return finding;
}

}  // namespace

std::vector<Finding> check_warden(const WardenFacts& facts) {
  std::vector<Finding> findings;
  if (!facts.home_trouble.empty())
    findings.push_back({"folders", Grade::fail, printable(facts.home_trouble),
                        "gpuward refuses to work there: others could hand it false records",
                        "chown and chmod go-w what is named"});
  switch (facts.answer) {
    case WardenFacts::Answer::none:
      findings.push_back(unseen("warden", "none runs"));
      if (facts.anchors + facts.unowned != 0) findings.back().mend = "gpuward up";
      break;
    case WardenFacts::Answer::silent:
      findings.push_back({"warden", Grade::fail, "runs, but does not answer",
                          "services run on; nothing is decided, healed or recorded",
                          "gpuward events, and the system's log; systemctl restart gpuward"});
      break;
    case WardenFacts::Answer::answers: {
      Finding warden = ok("warden", "answers, version " + printable(facts.version));
      if (facts.version != facts.own_version) {
        warden.grade = Grade::warn;
        warden.found += "; this program is " + facts.own_version;
        warden.cost = "what is new in this version is not in force";
        warden.mend = "gpuward up from this version takes over; no service is touched";
      }
      findings.push_back(std::move(warden));
      if (facts.ledger_trouble.empty())
        findings.push_back(ok("ledger", "can be written"));
      else
        findings.push_back({"ledger", Grade::fail,
                            "cannot be written: " + printable(facts.ledger_trouble),
                            "what is done is not on record, and what must be is refused",
                            "make room, or mend the rights of its folder"});
    }
  }
  findings.push_back(check_anchors(facts));
  return findings;
}

std::string unit_program(const std::string& unit_text) {
  const auto line = ini_value(unit_text, "ExecStart").value_or("");
  const auto begin = line.find_first_not_of("-@:+!");
  if (begin == std::string::npos) return {};
  return line.substr(begin, line.find_first_of(" \t", begin) - begin);
}

Finding check_unit(const UnitFacts& facts) {
  if (!facts.systemd) return unseen("systemd unit", "systemd does not run this machine");
  if (facts.path.empty()) {
    Finding finding = ok("systemd unit", "none");
    if (!facts.configured) return finding;
    finding.grade = Grade::warn;
    finding.cost = "after a reboot no service is started";
    finding.mend = "packaging/gpuward.service says how";
    return finding;
  }
  Finding finding = ok("systemd unit", printable(facts.path));
  struct Need {
    const char* key;
    const char* value;
    const char* cost;
  };
  // As in packaging/gpuward.service, the ones whose absence hurts; the worst first.
  static constexpr std::array<Need, 4> kNeeds = {
      Need{"KillMode", "process", "systemctl stop, restart or a crash ends every service"},
      Need{"Delegate", "yes", "systemd may take the services' cgroups away from gpuward"},
      Need{"RuntimeDirectoryPreserve", "yes",
           "a restart of the unit removes the records of running services"},
      Need{"OOMPolicy", "continue", "one service without memory is the end of all others"}};
  const auto has = [&](const Need& need) {
    const auto value = ini_value(facts.text, need.key);
    if (std::string_view(need.key) == "Delegate") return value && !value->empty() && *value != "no";
    return value == need.value;
  };
  std::string lacks;
  for (const auto& need : kNeeds) {
    if (has(need)) continue;
    add_word(lacks, std::string(need.key) + "=" + need.value);
    if (finding.cost.empty()) finding.cost = need.cost;
  }
  if (!lacks.empty()) {
    finding.grade = Grade::warn;
    finding.found += " is older than this version: without " + lacks;
    finding.mend = "copy packaging/gpuward.service over it, set its paths, systemctl daemon-reload";
  } else if (!facts.program_there) {
    finding.grade = Grade::warn;
    finding.found += " starts " + printable(unit_program(facts.text)) + ", which is not there";
    finding.cost = "after a reboot no service is started";
    finding.mend = "set its ExecStart and ExecReload, systemctl daemon-reload";
  }
  return finding;
}

}  // namespace gpuward
