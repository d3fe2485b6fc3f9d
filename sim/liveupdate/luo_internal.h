// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_LIVEUPDATE_LUO_INTERNAL_H_
#define SIM_LIVEUPDATE_LUO_INTERNAL_H_

// LUO's static data and what its files share. Objects of the simulated kernel
// (sessions, files) lie in its own memory and die with it.

#include <sim/kernel_api.h>

#include <cstdint>

#include "sim/liveupdate/guard.h"
#include "sim/liveupdate/kho_block.h"

namespace sim {

struct LuoFileSet {
  struct list_head files;
  KhoBlockSet blocks;
  uint64_t count;
};

struct LuoFile {
  struct liveupdate_file_handler* handler;
  struct file* file;  // null in the next kernel until it is retrieved
  u64 serialized_data;
  void* private_data;
  int retrieve_status;  // < 0: failed, 0: not asked for, > 0: retrieved
  struct mutex mutex;
  struct list_head list;
  u64 token;
};

struct LuoSession {
  char name[LIVEUPDATE_SESSION_NAME_LENGTH];
  struct list_head list;
  bool retrieved;  // only ever set on incoming sessions
  LuoFileSet files;
  struct mutex mutex;
};

struct LuoSessionList {
  long count;
  struct list_head list;
  struct rw_semaphore rwsem;
  KhoBlockSet blocks;
  u64* sessions_pa;
  bool active;
};

struct LuoFlbTable {
  struct luo_flb_header_ser* header;
  struct luo_flb_ser* ser;
  bool active;
};

// Static data of one kernel; nothing in it survives LuoReset().
struct LuoState {
  bool enabled;
  struct luo_ser* ser_out;
  u64 liveupdate_num;
  struct rw_semaphore register_rwsem;

  bool device_open;
  struct mutex transition_mutex;  // system_transition_mutex

  struct rw_semaphore serialize_rwsem;
  bool frozen;
  LuoSessionList incoming;
  LuoSessionList outgoing;
  bool deserialized;
  int deserialize_error;

  struct list_head handlers;
  struct xarray preserved;  // id of an object -> its file

  LuoFlbTable flb_incoming;
  LuoFlbTable flb_outgoing;
  struct list_head flbs;
  long flb_count;
  spinlock_t flb_init_lock;
};
extern LuoState g_luo;

// Damage that LUO does not survive. Follows luo_restore_fail(), which is
// panic(): the machine stops here, reported as property "refusal".
[[noreturn]] void LuoPanic(const char* what, int err);

void LuoParseEarlyParams();

// luo_session.cc
void LuoSessionsReset();
void LuoSessionSetUpOutgoing(u64* sessions_pa);
int LuoSessionSetUpIncoming(u64 sessions_pa);
int LuoSessionSerialize();
int LuoSessionDeserialize();

// luo_file.cc
void LuoFilesReset();
int LuoPreserveFile(LuoFileSet* set, u64 token, struct file* file);
void LuoFileUnpreserveFiles(LuoFileSet* set);
int LuoFileFreeze(LuoFileSet* set, struct luo_file_set_ser* ser);
void LuoFileUnfreeze(LuoFileSet* set, struct luo_file_set_ser* ser);
int LuoRetrieveFile(LuoFileSet* set, u64 token, struct file** file);
int LuoFileFinish(LuoFileSet* set);
int LuoFileDeserialize(LuoFileSet* set, struct luo_file_set_ser* ser);
void LuoFileSetInit(LuoFileSet* set);
void LuoFileSetDestroy(LuoFileSet* set);

// luo_flb.cc
void LuoFlbReset();
int LuoFlbFilePreserve(struct liveupdate_file_handler* handler);
void LuoFlbFileUnpreserve(struct liveupdate_file_handler* handler);
void LuoFlbFileFinish(struct liveupdate_file_handler* handler);
void LuoFlbUnregisterAll(struct liveupdate_file_handler* handler);
int LuoFlbSetUpOutgoing(u64* flbs_pa);
void LuoFlbSetUpIncoming(u64 flbs_pa);
void LuoFlbSerialize();

// memfd_luo.cc
void MemfdLuoReset();
void MemfdLuoInit();

// Follows strscpy(), for arrays.
template <size_t N>
void CopyString(char (&to)[N], const char* from) {
  size_t i = 0;
  for (; i + 1 < N && from[i] != 0; ++i) to[i] = from[i];
  to[i] = 0;
}

}  // namespace sim

#endif  // SIM_LIVEUPDATE_LUO_INTERNAL_H_
