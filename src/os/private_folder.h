#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "base/error.h"
#include "os/fd.h"

namespace gpuward::os {

/// Makes @p path a folder that only @p uid may enter (0700), or takes the one that is there. The
/// folder above it is made where missing, so that others may pass through it but not look into it
/// (0711). Errors: Errc::refused when that one belongs to another user or may be written by one, as
/// mkdir(2), open(2) with O_NOFOLLOW, fchown(2).
Result<Fd> make_private_folder(const std::string& path, uid_t uid, gid_t gid);

/// Removes everything in @p folder, and nothing that is mounted there, however long it takes: see
/// FolderSweep. Nobody else may be at work in it. Allocates nothing. Errors: of the last thing that
/// could not be removed.
Result<void> empty_folder(const Fd& folder);

/// Moves @p path, with all that is in it, into a folder beside it ("PATH.old") that is closed to
/// everybody else, and makes it anew. Whoever emptied what lies aside removes it. Allocates
/// nothing. Errors: as rename(2), and as make_private_folder().
Result<void> lay_aside(const std::string& path, uid_t uid, gid_t gid);
/// ENOENT: nothing was laid aside, or it is gone.
Result<Fd> open_aside(const std::string& path);
/// @return whether it is gone: it goes only when it is empty.
bool remove_aside(const std::string& path);
/// Empties it first, however long that takes. It not being there is no error.
Result<void> empty_aside(const std::string& path);

/// Notes beside @p path ("PATH.kept") that somebody who cannot be named may use it until this boot
/// ends. Allocates nothing. Errors: as open(2), write(2).
Result<void> keep_private_folder(const std::string& path, std::string_view boot_id);
/// Was that noted in this boot? A note of an earlier one is removed: nobody lives who used it then.
/// Where it cannot be read: true. Allocates nothing.
bool is_kept(const std::string& path, std::string_view boot_id);

/// Empties and removes @p path and what lies aside. It not being there is no error.
Result<void> remove_private_folder(const std::string& path);

}  // namespace gpuward::os
