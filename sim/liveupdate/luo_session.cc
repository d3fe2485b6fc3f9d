// SPDX-License-Identifier: BSD-3-Clause
//
// LUO's sessions. Follows kernel/liveupdate/luo_session.c; copying to and from
// user space and file descriptors are the user room's.
#include <sim/kernel_api.h>

#include <cstring>

#include "sim/liveupdate/luo.h"
#include "sim/liveupdate/luo_internal.h"
#include "sim/machine/actors.h"

namespace sim {
namespace {

// What the files of sessions are attached to, as anon_inode_getfile() does it.
const struct file_operations kSessionFops = {};
struct inode g_anon_inode;

void ResetList(LuoSessionList* sessions, const char* lock_class) {
  INIT_LIST_HEAD(&sessions->list);
  sim_init_rwsem(&sessions->rwsem, lock_class);
  KhoBlockSetInit(&sessions->blocks, sizeof(struct luo_session_ser));
}

LuoSession* SessionOf(struct file* file) {
  return static_cast<LuoSession*>(file->private_data);
}

// Follows luo_session_alloc().
LuoSession* AllocSession(const char* name) {
  LuoSession* session = kzalloc_obj(LuoSession, GFP_KERNEL);
  if (session == nullptr) return nullptr;
  CopyString(session->name, name);
  LuoFileSetInit(&session->files);
  INIT_LIST_HEAD(&session->list);
  sim_mutex_init(&session->mutex, "&luo_session->mutex");
  return session;
}

// Follows luo_session_free().
void FreeSession(LuoSession* session) {
  LuoFileSetDestroy(&session->files);
  mutex_destroy(&session->mutex);
  kfree(session);
}

LuoSession* FindSession(LuoSessionList* sessions, const char* name) {
  LuoSession* it;
  list_for_each_entry(it, &sessions->list, list) {
    if (std::strncmp(it->name, name, sizeof(it->name)) == 0) return it;
  }
  return nullptr;
}

// Follows luo_session_insert(). Room made for a session that then turns out to
// exist already is kept, as in the kernel.
int InsertSession(LuoSessionList* sessions, LuoSession* session) {
  WriteGuard guard(&sessions->rwsem);
  if (sessions == &g_luo.outgoing) {
    if (int err = KhoBlockSetGrow(&sessions->blocks, sessions->count + 1)) {
      return err;
    }
  }
  if (FindSession(sessions, session->name) != nullptr) return -EEXIST;
  list_add_tail(&session->list, &sessions->list);
  ++sessions->count;
  return 0;
}

// Follows luo_session_remove().
void RemoveSession(LuoSessionList* sessions, LuoSession* session) {
  WriteGuard guard(&sessions->rwsem);
  list_del(&session->list);
  --sessions->count;
  if (sessions == &g_luo.outgoing) {
    KhoBlockSetShrink(&sessions->blocks, sessions->count);
  }
}

// Follows luo_session_finish_one().
int FinishSession(LuoSession* session) {
  MutexGuard guard(&session->mutex);
  return LuoFileFinish(&session->files);
}

// The set of files in a session's record. The records are packed, but their
// members lie on their own alignment.
struct luo_file_set_ser* FileSetOf(struct luo_session_ser* ser) {
  static_assert(offsetof(struct luo_session_ser, file_set_ser) % 8 == 0);
  return reinterpret_cast<struct luo_file_set_ser*>(
      reinterpret_cast<char*>(ser) +
      offsetof(struct luo_session_ser, file_set_ser));
}

// Follows luo_session_freeze_one() and luo_session_unfreeze_one().
int FreezeSession(LuoSession* session, struct luo_session_ser* ser) {
  MutexGuard guard(&session->mutex);
  return LuoFileFreeze(&session->files, FileSetOf(ser));
}

void UnfreezeSession(LuoSession* session, struct luo_session_ser* ser) {
  MutexGuard guard(&session->mutex);
  LuoFileUnfreeze(&session->files, FileSetOf(ser));
}

// Follows luo_session_getfile(). The name in /proc is left out.
int GetSessionFile(LuoSession* session, struct file** filep) {
  struct file* file = kzalloc_obj(struct file, GFP_KERNEL);
  if (file == nullptr) return -ENOMEM;
  file->f_inode = &g_anon_inode;
  file->f_mapping = &g_anon_inode.i_data;
  file->f_op = &kSessionFops;
  file->f_mode = FMODE_READ | FMODE_WRITE;
  file->f_flags = O_RDWR;
  refcount_set(&file->f_ref, 1);
  file->private_data = session;
  *filep = file;
  return 0;
}

// Follows luo_session_deserialize_one(). A session whose files could not be
// read stays in the list, as in the kernel.
int DeserializeSession(LuoSessionList* sessions, struct luo_session_ser* ser) {
  LuoSession* session = AllocSession(ser->name);
  if (session == nullptr) {
    pr_warn("Failed to allocate session [%.64s]\n", ser->name);
    return -ENOMEM;
  }
  int err = InsertSession(sessions, session);
  if (err != 0) {
    pr_warn("Failed to insert session [%s] %d\n", session->name, err);
    FreeSession(session);
    return err;
  }
  {
    MutexGuard guard(&session->mutex);
    err = LuoFileDeserialize(&session->files, FileSetOf(ser));
  }
  if (err != 0) {
    pr_warn("Failed to deserialize files for session [%s] %d\n", session->name,
            err);
  }
  return err;
}

void CountSessions(const LuoSessionList& sessions, int* nr_sessions,
                   int* nr_files) {
  *nr_sessions = sessions.count;
  LuoSession* it;
  list_for_each_entry(it, &sessions.list, list)* nr_files += it->files.count;
}

}  // namespace

void LuoSessionsReset() {
  g_anon_inode = {};
  g_anon_inode.i_nlink = 1;
  g_anon_inode.i_mapping = &g_anon_inode.i_data;
  g_anon_inode.i_data.host = &g_anon_inode;
  sim_init_rwsem(&g_luo.serialize_rwsem, "&luo_session_serialize_rwsem");
  ResetList(&g_luo.incoming, "&luo_session_global.incoming.rwsem");
  ResetList(&g_luo.outgoing, "&luo_session_global.outgoing.rwsem");
}

// Follows luo_session_setup_outgoing().
void LuoSessionSetUpOutgoing(u64* sessions_pa) {
  g_luo.outgoing.sessions_pa = sessions_pa;
  g_luo.outgoing.active = true;
}

// Follows luo_session_setup_incoming().
int LuoSessionSetUpIncoming(u64 sessions_pa) {
  if (sessions_pa == 0) return 0;
  if (int err = KhoBlockSetRestore(&g_luo.incoming.blocks, sessions_pa)) {
    return err;
  }
  g_luo.incoming.active = true;
  return 0;
}

// Follows luo_session_deserialize(): done once, its result remembered. What
// was read before an error stays, unreachable.
int LuoSessionDeserialize() {
  if (g_luo.deserialized) return g_luo.deserialize_error;
  g_luo.deserialized = true;
  LuoSessionList* sessions = &g_luo.incoming;
  if (!sessions->active) return 0;
  KhoBlockIterator it(&sessions->blocks);
  int err = 0;
  while (void* ser = it.Read()) {
    err =
        DeserializeSession(sessions, static_cast<struct luo_session_ser*>(ser));
    if (err != 0) break;
  }
  KhoBlockSetDestroy(&sessions->blocks);
  g_luo.deserialize_error = err;
  return err;
}

// Follows luo_session_serialize(): freezes every session and writes its
// record, or undoes all of it. On success the lock is kept for good.
int LuoSessionSerialize() {
  LuoSessionList* sessions = &g_luo.outgoing;
  down_write(&g_luo.serialize_rwsem);
  down_write(&sessions->rwsem);
  *sessions->sessions_pa = 0;

  KhoBlockIterator it(&sessions->blocks);
  LuoSession* session;
  int err = 0;
  list_for_each_entry(session, &sessions->list, list) {
    auto* ser = static_cast<struct luo_session_ser*>(it.Reserve());
    if (WARN_ON(ser == nullptr)) {
      err = -ENOSPC;
      break;
    }
    err = FreezeSession(session, ser);
    if (err != 0) {
      it.Previous();
      break;
    }
    CopyString(ser->name, session->name);
  }
  if (err == 0) {
    if (sessions->count > 0) *sessions->sessions_pa = sessions->blocks.head_pa;
    up_write(&sessions->rwsem);
    g_luo.frozen = true;
    return 0;
  }
  list_for_each_entry_continue_reverse(session, &sessions->list, list) {
    auto* ser = static_cast<struct luo_session_ser*>(it.Previous());
    UnfreezeSession(session, ser);
    std::memset(ser->name, 0, sizeof(ser->name));
  }
  up_write(&sessions->rwsem);
  up_write(&g_luo.serialize_rwsem);
  return err;
}

// Follows luo_session_create().
int SessionCreate(const char* name, struct file** session_file) {
  const size_t len = strnlen(name, LIVEUPDATE_SESSION_NAME_LENGTH);
  if (len == 0 || len == LIVEUPDATE_SESSION_NAME_LENGTH) return -EINVAL;
  LuoSession* session = AllocSession(name);
  if (session == nullptr) return -ENOMEM;
  ReadGuard guard(&g_luo.serialize_rwsem);
  int err = InsertSession(&g_luo.outgoing, session);
  if (err == 0) {
    mutex_lock(&session->mutex);
    err = GetSessionFile(session, session_file);
    mutex_unlock(&session->mutex);
    if (err != 0) RemoveSession(&g_luo.outgoing, session);
  }
  if (err != 0) FreeSession(session);
  return err;
}

// Follows luo_session_retrieve().
int SessionRetrieve(const char* name, struct file** session_file) {
  ReadGuard guard(&g_luo.serialize_rwsem);
  ReadGuard list_guard(&g_luo.incoming.rwsem);
  LuoSession* session = FindSession(&g_luo.incoming, name);
  if (session == nullptr) return -ENOENT;
  MutexGuard session_guard(&session->mutex);
  if (session->retrieved) return -EINVAL;
  const int err = GetSessionFile(session, session_file);
  if (err == 0) session->retrieved = true;
  return err;
}

// Follows luo_session_release(). When an incoming session cannot be finished
// it stays in the list for good, without a file.
int SessionRelease(struct file* session_file) {
  LuoSession* session = SessionOf(session_file);
  int err = 0;
  {
    ReadGuard guard(&g_luo.serialize_rwsem);
    if (session->retrieved) {
      err = FinishSession(session);
      if (err != 0) {
        pr_warn("Unable to finish session [%s] on release\n", session->name);
      } else {
        RemoveSession(&g_luo.incoming, session);
        FreeSession(session);
      }
    } else {
      mutex_lock(&session->mutex);
      LuoFileUnpreserveFiles(&session->files);
      mutex_unlock(&session->mutex);
      RemoveSession(&g_luo.outgoing, session);
      FreeSession(session);
    }
  }
  kfree(session_file);
  return err;
}

// Follows luo_session_ioctl() and luo_session_preserve_fd().
int PreserveFd(struct file* session_file, uint64_t token, struct file* file) {
  LuoSession* session = SessionOf(session_file);
  if (session->retrieved) return -EINVAL;
  ReadGuard guard(&g_luo.serialize_rwsem);
  MutexGuard session_guard(&session->mutex);
  return LuoPreserveFile(&session->files, token, file);
}

// Follows luo_session_ioctl() and luo_session_retrieve_fd().
int RetrieveFd(struct file* session_file, uint64_t token, struct file** file) {
  LuoSession* session = SessionOf(session_file);
  if (!session->retrieved) return -EINVAL;
  ReadGuard guard(&g_luo.serialize_rwsem);
  MutexGuard session_guard(&session->mutex);
  return LuoRetrieveFile(&session->files, token, file);
}

// Follows luo_session_ioctl() and luo_session_finish().
int Finish(struct file* session_file) {
  LuoSession* session = SessionOf(session_file);
  if (!session->retrieved) return -EINVAL;
  ReadGuard guard(&g_luo.serialize_rwsem);
  return FinishSession(session);
}

LuoCounts CountLuo() {
  LuoCounts counts;
  CountSessions(g_luo.outgoing, &counts.outgoing_sessions,
                &counts.outgoing_files);
  CountSessions(g_luo.incoming, &counts.incoming_sessions,
                &counts.incoming_files);
  unsigned long id = 0;
  for (void* file = xa_find(&g_luo.preserved, &id, ~0UL, XA_PRESENT);
       file != nullptr;
       file = xa_find_after(&g_luo.preserved, &id, ~0UL, XA_PRESENT)) {
    ++counts.busy_objects;
  }
  counts.device_open = g_luo.device_open;
  counts.frozen = g_luo.frozen;
  return counts;
}

}  // namespace sim
