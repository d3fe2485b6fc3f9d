// SPDX-License-Identifier: BSD-3-Clause
//
// The files of a session and their handlers. Follows
// kernel/liveupdate/luo_file.c; module references are left out.
#include <sim/kernel_api.h>

#include <cstring>

#include "sim/liveupdate/luo_internal.h"
#include "sim/machine/machine.h"

namespace sim {
namespace {

// Follows luo_get_id(). An id that is the address of a kernel object is turned
// into the address that it would have in a kernel: the shape of the xarray must
// not depend on where the host put the machine's memory.
unsigned long GetId(struct liveupdate_file_handler* handler,
                    struct file* file) {
  const unsigned long id = handler->ops->get_id != nullptr
                               ? handler->ops->get_id(file)
                               : reinterpret_cast<unsigned long>(file);
  const unsigned long base =
      reinterpret_cast<unsigned long>(M().memory().base());
  if (id < base || id - base >= M().memory().end_pfn() << PAGE_SHIFT) return id;
  return 0xffff888000000000 + (id - base);
}

LuoFile* FindToken(LuoFileSet* set, u64 token) {
  LuoFile* it;
  list_for_each_entry(it, &set->files, list) {
    if (it->token == token) return it;
  }
  return nullptr;
}

struct liveupdate_file_op_args ArgsFor(LuoFile* file) {
  struct liveupdate_file_op_args args = {};
  args.handler = file->handler;
  args.file = file->file;
  args.serialized_data = file->serialized_data;
  args.private_data = file->private_data;
  return args;
}

// The loop over handlers of luo_preserve_file().
struct liveupdate_file_handler* FindHandlerFor(struct file* file) {
  ReadGuard guard(&g_luo.register_rwsem);
  struct liveupdate_file_handler* it;
  list_for_each_entry(it, &g_luo.handlers, list) {
    if (it->ops->can_preserve(it, file)) return it;
  }
  return nullptr;
}

struct liveupdate_file_handler* FindHandlerNamed(const char* compatible) {
  struct liveupdate_file_handler* it;
  list_for_each_entry(it, &g_luo.handlers, list) {
    if (std::strncmp(it->compatible, compatible,
                     LIVEUPDATE_HNDL_COMPAT_LENGTH) == 0) {
      return it;
    }
  }
  return nullptr;
}

// The second half of luo_preserve_file(), from the FLBs on.
int PreserveWithHandler(LuoFileSet* set, u64 token, struct file* file,
                        struct liveupdate_file_handler* handler) {
  int err = LuoFlbFilePreserve(handler);
  if (err != 0) return err;
  LuoFile* luo_file = kzalloc_obj(LuoFile, GFP_KERNEL);
  err = -ENOMEM;
  if (luo_file != nullptr) {
    luo_file->file = file;
    luo_file->handler = handler;
    luo_file->token = token;
    sim_mutex_init(&luo_file->mutex, "&luo_file->mutex");
    struct liveupdate_file_op_args args = {};
    args.handler = handler;
    args.file = file;
    err = handler->ops->preserve(&args);
    if (err == 0) {
      luo_file->serialized_data = args.serialized_data;
      luo_file->private_data = args.private_data;
      list_add_tail(&luo_file->list, &set->files);
      ++set->count;
      return 0;
    }
    kfree(luo_file);
  }
  LuoFlbFileUnpreserve(handler);
  return err;
}

// Follows luo_file_freeze_one().
int FreezeOne(LuoFile* file) {
  MutexGuard guard(&file->mutex);
  if (file->handler->ops->freeze == nullptr) return 0;
  struct liveupdate_file_op_args args = ArgsFor(file);
  const int err = file->handler->ops->freeze(&args);
  if (err == 0) file->serialized_data = args.serialized_data;
  return err;
}

// Follows luo_file_unfreeze_one().
void UnfreezeOne(LuoFile* file) {
  MutexGuard guard(&file->mutex);
  if (file->handler->ops->unfreeze == nullptr) return;
  struct liveupdate_file_op_args args = ArgsFor(file);
  file->handler->ops->unfreeze(&args);
}

// Follows __luo_file_unfreeze(): the files before `failed`, oldest first.
void UnfreezeUpTo(LuoFileSet* set, LuoFile* failed) {
  LuoFile* file;
  list_for_each_entry(file, &set->files, list) {
    if (file == failed) break;
    UnfreezeOne(file);
  }
  KhoBlockSetClear(&set->blocks);
}

// Follows luo_file_can_finish_one().
bool CanFinishOne(LuoFile* file) {
  MutexGuard guard(&file->mutex);
  if (file->handler->ops->can_finish == nullptr) return true;
  struct liveupdate_file_op_args args = ArgsFor(file);
  args.private_data = nullptr;
  args.retrieve_status = file->retrieve_status;
  return file->handler->ops->can_finish(&args);
}

// Follows luo_file_finish_one().
void FinishOne(LuoFile* file) {
  MutexGuard guard(&file->mutex);
  struct liveupdate_file_op_args args = ArgsFor(file);
  args.private_data = nullptr;
  args.retrieve_status = file->retrieve_status;
  file->handler->ops->finish(&args);
  LuoFlbFileFinish(file->handler);
}

// Follows luo_file_deserialize_one().
int DeserializeOne(LuoFileSet* set, const struct luo_file_ser* ser) {
  struct liveupdate_file_handler* handler;
  {
    ReadGuard guard(&g_luo.register_rwsem);
    handler = FindHandlerNamed(ser->compatible);
  }
  if (handler == nullptr) {
    pr_warn("No registered handler for compatible '%.48s'\n", ser->compatible);
    return -ENOENT;
  }
  LuoFile* file = kzalloc_obj(LuoFile, GFP_KERNEL);
  if (file == nullptr) return -ENOMEM;
  file->handler = handler;
  file->serialized_data = ser->data;
  file->token = ser->token;
  sim_mutex_init(&file->mutex, "&luo_file->mutex");
  list_add_tail(&file->list, &set->files);
  return 0;
}

}  // namespace

void LuoFilesReset() {
  INIT_LIST_HEAD(&g_luo.handlers);
  xa_init(&g_luo.preserved);
}

// Follows luo_file_set_init().
void LuoFileSetInit(LuoFileSet* set) {
  INIT_LIST_HEAD(&set->files);
  KhoBlockSetInit(&set->blocks, sizeof(struct luo_file_ser));
}

// Follows luo_file_set_destroy().
void LuoFileSetDestroy(LuoFileSet* set) {
  WARN_ON(set->count != 0);
  WARN_ON(!list_empty(&set->files));
  WARN_ON(!list_empty(&set->blocks.blocks));
}

// Follows luo_preserve_file(); fget() is the user room's, which gives null for
// a descriptor that is not open.
int LuoPreserveFile(LuoFileSet* set, u64 token, struct file* file) {
  if (FindToken(set, token) != nullptr) return -EEXIST;
  if (int err = KhoBlockSetGrow(&set->blocks, set->count + 1)) return err;
  int err = -EBADF;
  if (file != nullptr) {
    get_file(file);
    struct liveupdate_file_handler* handler = FindHandlerFor(file);
    err = -ENOENT;
    if (handler != nullptr) {
      const unsigned long id = GetId(handler, file);
      err = xa_insert(&g_luo.preserved, id, file, GFP_KERNEL);
      if (err == 0) {
        err = PreserveWithHandler(set, token, file, handler);
        if (err == 0) return 0;
        xa_erase(&g_luo.preserved, id);
      }
    }
    fput(file);
  }
  KhoBlockSetShrink(&set->blocks, set->count);
  return err;
}

// Follows luo_file_unpreserve_files(): newest first.
void LuoFileUnpreserveFiles(LuoFileSet* set) {
  while (!list_empty(&set->files)) {
    LuoFile* file = list_last_entry(&set->files, LuoFile, list);
    struct liveupdate_file_op_args args = ArgsFor(file);
    file->handler->ops->unpreserve(&args);
    LuoFlbFileUnpreserve(file->handler);
    xa_erase(&g_luo.preserved, GetId(file->handler, file->file));
    list_del(&file->list);
    --set->count;
    KhoBlockSetShrink(&set->blocks, set->count);
    fput(file->file);
    mutex_destroy(&file->mutex);
    kfree(file);
  }
  KhoBlockSetDestroy(&set->blocks);
}

// Follows luo_file_freeze(): oldest first.
int LuoFileFreeze(LuoFileSet* set, struct luo_file_set_ser* ser) {
  if (set->count == 0) return 0;
  KhoBlockIterator it(&set->blocks);
  LuoFile* file;
  list_for_each_entry(file, &set->files, list) {
    auto* file_ser = static_cast<struct luo_file_ser*>(it.Reserve());
    int err = -ENOSPC;
    if (!WARN_ON(file_ser == nullptr)) err = FreezeOne(file);
    if (err < 0) {
      pr_warn("Freeze failed for token[0x%llx] handler[%s] err[%d]\n",
              static_cast<unsigned long long>(file->token),
              file->handler->compatible, err);
      UnfreezeUpTo(set, file);
      return err;
    }
    CopyString(file_ser->compatible, file->handler->compatible);
    file_ser->data = file->serialized_data;
    file_ser->token = file->token;
  }
  ser->count = set->count;
  ser->files = set->blocks.head_pa;
  return 0;
}

// Follows luo_file_unfreeze().
void LuoFileUnfreeze(LuoFileSet* set, struct luo_file_set_ser* ser) {
  if (set->count == 0) return;
  UnfreezeUpTo(set, nullptr);
  std::memset(ser, 0, sizeof(*ser));
}

// Follows luo_retrieve_file() as kernel/hooks changes it: a failure is
// remembered, unless the handler says that it may be tried again.
int LuoRetrieveFile(LuoFileSet* set, u64 token, struct file** filep) {
  LuoFile* file = FindToken(set, token);
  if (file == nullptr) return -ENOENT;
  MutexGuard guard(&file->mutex);
  if (file->retrieve_status < 0) return file->retrieve_status;
  if (file->retrieve_status > 0) {
    *filep = get_file(file->file);
    return 0;
  }
  struct liveupdate_file_op_args args = {};
  args.handler = file->handler;
  args.serialized_data = file->serialized_data;
  if (int err = file->handler->ops->retrieve(&args)) {
    // HOOK(kernel/liveupdate/luo_file.c, luo_retrieve_file): -EAGAIN
    if (err != -EAGAIN) file->retrieve_status = err;
    return err;
  }
  file->file = args.file;
  get_file(file->file);  // LUO's own, until finish
  // Linux has all of it in a WARN_ON(), lack of memory too, and goes on. The
  // nodes that it takes, at least one, count as one call that may fail.
  const int err =
      M().Fails(FailKind::kAlloc, "luo_retrieve_file")
          ? -ENOMEM
          : xa_insert(&g_luo.preserved, GetId(file->handler, file->file),
                      file->file, GFP_KERNEL | __GFP_NOFAIL);
  if (err == -ENOMEM) {
    M().NoteLinuxWarning("luo_retrieve_file: a file in no table");
  } else {
    WARN_ON(err);
  }
  *filep = file->file;
  file->retrieve_status = 1;
  return 0;
}

// Follows luo_file_finish(): all are asked before any is finished, newest
// first.
int LuoFileFinish(LuoFileSet* set) {
  if (set->count == 0) return 0;
  LuoFile* file;
  list_for_each_entry(file, &set->files, list) {
    if (!CanFinishOne(file)) return -EBUSY;
  }
  while (!list_empty(&set->files)) {
    file = list_last_entry(&set->files, LuoFile, list);
    FinishOne(file);
    if (file->file != nullptr) {
      xa_erase(&g_luo.preserved, GetId(file->handler, file->file));
      fput(file->file);
    }
    list_del(&file->list);
    --set->count;
    KhoBlockSetShrink(&set->blocks, set->count);
    mutex_destroy(&file->mutex);
    kfree(file);
  }
  KhoBlockSetDestroy(&set->blocks);
  return 0;
}

// Follows luo_file_deserialize().
int LuoFileDeserialize(LuoFileSet* set, struct luo_file_set_ser* ser) {
  if (ser->files == 0) {
    WARN_ON(ser->count != 0);
    return 0;
  }
  set->count = 0;
  if (int err = KhoBlockSetRestore(&set->blocks, ser->files)) return err;
  KhoBlockIterator it(&set->blocks);
  int err = 0;
  while (void* entry = it.Read()) {
    err = DeserializeOne(set, static_cast<struct luo_file_ser*>(entry));
    if (err != 0) break;
    ++set->count;
  }
  if (err == 0 && set->count != ser->count) {
    pr_warn("File count mismatch: expected %llu, found %llu\n",
            static_cast<unsigned long long>(ser->count),
            static_cast<unsigned long long>(set->count));
    err = -EINVAL;
  }
  if (err == 0) return 0;
  while (!list_empty(&set->files)) {
    LuoFile* file = list_first_entry(&set->files, LuoFile, list);
    list_del(&file->list);
    mutex_destroy(&file->mutex);
    kfree(file);
  }
  set->count = 0;
  KhoBlockSetDestroy(&set->blocks);
  return err;
}

}  // namespace sim

using sim::g_luo;

extern "C" {

// Follows liveupdate_register_file_handler(). The handler's lists are made
// anew, so that a structure which outlived its kernel does no harm.
int liveupdate_register_file_handler(struct liveupdate_file_handler* fh) {
  if (!liveupdate_enabled()) return -EOPNOTSUPP;
  const struct liveupdate_file_ops* ops = fh->ops;
  if (ops->preserve == nullptr || ops->unpreserve == nullptr ||
      ops->retrieve == nullptr || ops->finish == nullptr ||
      ops->can_preserve == nullptr) {
    return -EINVAL;
  }
  sim::WriteGuard guard(&g_luo.register_rwsem);
  if (sim::FindHandlerNamed(fh->compatible) != nullptr) {
    pr_err("File handler registration failed: '%s' already registered.\n",
           fh->compatible);
    return -EEXIST;
  }
  INIT_LIST_HEAD(&fh->flb_list);
  INIT_LIST_HEAD(&fh->list);
  list_add_tail(&fh->list, &g_luo.handlers);
  return 0;
}

// Follows liveupdate_unregister_file_handler().
void liveupdate_unregister_file_handler(struct liveupdate_file_handler* fh) {
  if (!liveupdate_enabled()) return;
  sim::WriteGuard guard(&g_luo.register_rwsem);
  sim::LuoFlbUnregisterAll(fh);
  list_del(&fh->list);
}

}  // extern "C"
