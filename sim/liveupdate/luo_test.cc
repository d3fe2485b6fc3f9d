// SPDX-License-Identifier: BSD-3-Clause
#include "sim/liveupdate/luo.h"

#include <gtest/gtest.h>
#include <sim/kernel_api.h>

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "sim/liveupdate/kho.h"
#include "sim/liveupdate/luo_internal.h"
#include "sim/liveupdate/test_kernel.h"

namespace sim {
namespace {

// A handler for files that carry one letter. What is done to them is noted as
// "p:a", "u:a", ... with the letter.
std::string g_calls;
char g_fail_preserve, g_fail_freeze, g_fail_retrieve, g_cannot_finish;
int g_retrieve_error;

char LetterOf(const struct file* file) {
  return *static_cast<const char*>(file->private_data);
}
char LetterOf(u64 data) { return static_cast<char>(data); }

void Note(char what, char letter) { g_calls += {what, ':', letter, ' '}; }

std::string TakeCalls() { return std::exchange(g_calls, ""); }

const struct file_operations kTestFops = {};

bool TestCanPreserve(struct liveupdate_file_handler*, struct file* file) {
  return file->f_op == &kTestFops;
}
int TestPreserve(struct liveupdate_file_op_args* args) {
  const char letter = LetterOf(args->file);
  Note('p', letter);
  if (letter == g_fail_preserve) return -EIO;
  args->serialized_data = static_cast<unsigned char>(letter);
  args->private_data = args->file;
  return 0;
}
void TestUnpreserve(struct liveupdate_file_op_args* args) {
  EXPECT_EQ(args->private_data, args->file);
  Note('u', LetterOf(args->serialized_data));
}
int TestFreeze(struct liveupdate_file_op_args* args) {
  const char letter = LetterOf(args->serialized_data);
  Note('f', letter);
  if (letter == g_fail_freeze) return -EDOM;
  args->serialized_data = static_cast<unsigned char>(letter) | 0x100;
  return 0;
}
void TestUnfreeze(struct liveupdate_file_op_args* args) {
  Note('t', LetterOf(args->serialized_data));
}
char g_retrieved_letters[256];
int TestRetrieve(struct liveupdate_file_op_args* args) {
  const char letter = LetterOf(args->serialized_data);
  EXPECT_EQ(args->serialized_data & 0x100, 0x100u);  // of freeze
  Note('r', letter);
  if (letter == g_fail_retrieve) return g_retrieve_error;
  auto* file = kzalloc_obj(struct file, GFP_KERNEL);
  if (file == nullptr) return -ENOMEM;
  char* slot = &g_retrieved_letters[static_cast<unsigned char>(letter)];
  *slot = letter;
  file->private_data = slot;
  file->f_op = &kTestFops;
  refcount_set(&file->f_ref, 1);
  args->file = file;
  return 0;
}
bool TestCanFinish(struct liveupdate_file_op_args* args) {
  return LetterOf(args->serialized_data) != g_cannot_finish;
}
void TestFinish(struct liveupdate_file_op_args* args) {
  const int status = args->retrieve_status;
  Note(status == 0  ? 'd'
       : status > 0 ? 'k'
                    : 'e',
       LetterOf(args->serialized_data));
}

const struct liveupdate_file_ops kTestOps = {
    .can_preserve = TestCanPreserve,
    .preserve = TestPreserve,
    .unpreserve = TestUnpreserve,
    .freeze = TestFreeze,
    .unfreeze = TestUnfreeze,
    .retrieve = TestRetrieve,
    .can_finish = TestCanFinish,
    .finish = TestFinish,
    .get_id = nullptr,
    .owner = nullptr,
};
struct liveupdate_file_handler g_handler = {
    .ops = &kTestOps, .compatible = "test-v1", .list = {}, .flb_list = {}};

// FLBs: what is done to them is noted as well, in capitals.
bool g_fail_flb_b;
int FlbPreserve(struct liveupdate_flb_op_args* args) {
  const char letter = args->flb->compatible[0];
  Note('P', letter);
  if (letter == 'B' && g_fail_flb_b) return -ENOSPC;
  args->data = static_cast<unsigned char>(letter);
  args->obj = args->flb;
  return 0;
}
void FlbUnpreserve(struct liveupdate_flb_op_args* args) {
  Note('U', args->flb->compatible[0]);
}
int FlbRetrieve(struct liveupdate_flb_op_args* args) {
  Note('R', static_cast<char>(args->data));
  args->obj = args->flb;
  return 0;
}
void FlbFinish(struct liveupdate_flb_op_args* args) {
  Note('F', args->flb->compatible[0]);
}
const struct liveupdate_flb_ops kFlbOps = {.preserve = FlbPreserve,
                                           .unpreserve = FlbUnpreserve,
                                           .retrieve = FlbRetrieve,
                                           .finish = FlbFinish,
                                           .owner = nullptr};
struct liveupdate_flb g_flb_a = {
    .ops = &kFlbOps, .compatible = "A", .flb_private = {}};
struct liveupdate_flb g_flb_b = {
    .ops = &kFlbOps, .compatible = "B", .flb_private = {}};

class LuoTest : public KernelTest {
 protected:
  LuoTest() {
    g_calls.clear();
    g_fail_preserve = g_fail_freeze = g_fail_retrieve = g_cannot_finish = 0;
    g_fail_flb_b = false;
  }

  void Up(bool kexec = false) {
    if (kexec) {
      KexecKernel();
    } else {
      BootKernel();
    }
    ASSERT_EQ(liveupdate_register_file_handler(&g_handler), 0);
    ASSERT_EQ(LuoOpen(), 0);
  }
  void NextKernel() { Up(true); }

  struct file* Session(const char* name) {
    struct file* session = nullptr;
    EXPECT_EQ(SessionCreate(name, &session), 0);
    return session;
  }
  struct file* Incoming(const char* name) {
    struct file* session = nullptr;
    EXPECT_EQ(SessionRetrieve(name, &session), 0);
    return session;
  }

  // Files of this test; they are never freed by fput(), since each keeps a
  // reference of the test's own.
  struct file* File(char letter) {
    auto* file = kzalloc_obj(struct file, GFP_KERNEL);
    char* slot = &letters_[static_cast<unsigned char>(letter)];
    *slot = letter;
    file->private_data = slot;
    file->f_op = &kTestFops;
    refcount_set(&file->f_ref, 1);
    return file;
  }

  void RegisterFlbs() {
    g_flb_a.flb_private = {};
    g_flb_b.flb_private = {};
    ASSERT_EQ(liveupdate_register_flb(&g_handler, &g_flb_a), 0);
    ASSERT_EQ(liveupdate_register_flb(&g_handler, &g_flb_b), 0);
  }

  char letters_[256] = {};
  bool served_ = false;
};

TEST_F(LuoTest, DeviceHasOneOpener) {
  BootKernel();
  EXPECT_EQ(LuoOpen(), 0);
  EXPECT_EQ(LuoOpen(), -EBUSY);
  LuoClose();
  EXPECT_EQ(LuoOpen(), 0);
}

TEST_F(LuoTest, NamesOfSessions) {
  Up();
  struct file* s = nullptr;
  EXPECT_EQ(SessionCreate("", &s), -EINVAL);
  EXPECT_EQ(SessionCreate(std::string(64, 'x').c_str(), &s), -EINVAL);
  struct file* longest = Session(std::string(63, 'x').c_str());
  struct file* a = Session("a");
  EXPECT_EQ(SessionCreate("a", &s), -EEXIST);
  EXPECT_EQ(SessionRetrieve("a", &s), -ENOENT);
  EXPECT_EQ(SessionRelease(longest), 0);
  EXPECT_EQ(SessionRelease(a), 0);
  EXPECT_EQ(CountLuo().outgoing_sessions, 0);
}

TEST_F(LuoTest, IoctlsFitTheKindOfSession) {
  Up();
  struct file* s = Session("s");
  struct file* file;
  EXPECT_EQ(Finish(s), -EINVAL);
  EXPECT_EQ(RetrieveFd(s, 1, &file), -EINVAL);
  EXPECT_EQ(PreserveFd(s, 1, nullptr), -EBADF);
  NextKernel();
  s = Incoming("s");
  EXPECT_EQ(SessionRetrieve("s", &file), -EINVAL);
  EXPECT_EQ(PreserveFd(s, 1, File('a')), -EINVAL);
  EXPECT_EQ(RetrieveFd(s, 1, &file), -ENOENT);
  EXPECT_EQ(Finish(s), 0);
  EXPECT_EQ(Finish(s), 0);
  EXPECT_EQ(SessionRelease(s), 0);
  EXPECT_EQ(SessionRetrieve("s", &file), -ENOENT);
}

TEST_F(LuoTest, PreserveRefusesAndUndoes) {
  Up();
  struct file* s = Session("s");
  struct file* other = Session("t");
  const KhoKeySet keys = KhoOutgoing();
  const LuoCounts counts = CountLuo();
  struct file* a = File('a');
  struct file stranger = {};
  refcount_set(&stranger.f_ref, 1);
  EXPECT_EQ(PreserveFd(s, 1, &stranger), -ENOENT);
  EXPECT_EQ(refcount_read(&stranger.f_ref), 1u);
  g_fail_preserve = 'a';
  EXPECT_EQ(PreserveFd(s, 1, a), -EIO);
  EXPECT_EQ(KhoOutgoing(), keys);
  EXPECT_EQ(CountLuo(), counts);
  EXPECT_EQ(refcount_read(&a->f_ref), 1u);
  g_fail_preserve = 0;
  ASSERT_EQ(PreserveFd(s, 1, a), 0);
  EXPECT_EQ(refcount_read(&a->f_ref), 2u);
  EXPECT_EQ(PreserveFd(s, 1, File('b')), -EEXIST);
  EXPECT_EQ(PreserveFd(s, 2, a), -EBUSY);
  EXPECT_EQ(PreserveFd(other, 1, a), -EBUSY);
  EXPECT_EQ(PreserveFd(other, 1, File('b')), 0);
  EXPECT_EQ(CountLuo().busy_objects, 2);
  TakeCalls();
  EXPECT_EQ(SessionRelease(s), 0);
  EXPECT_EQ(TakeCalls(), "u:a ");
  EXPECT_EQ(refcount_read(&a->f_ref), 1u);
  EXPECT_EQ(SessionRelease(other), 0);
  EXPECT_EQ(CountLuo().busy_objects, 0);
}

TEST_F(LuoTest, EveryFailingCallOfPreserveIsUndone) {
  Up();
  struct file* s = Session("s");
  struct file* a = File('a');
  const KhoKeySet keys = KhoOutgoing();
  const uint64_t tree = KhoOutgoingTreePages().size();
  const LuoCounts counts = CountLuo();
  int nth = 1;
  for (; nth < 50; ++nth) {
    machine_.set_fault_plan({FailKind::kAny, nth});
    const int err = PreserveFd(s, 1, a);
    if (!machine_.fault_fired()) {
      EXPECT_EQ(err, 0);
      break;
    }
    EXPECT_EQ(err, -ENOMEM);
    EXPECT_EQ(KhoOutgoing(), keys);
    EXPECT_EQ(CountLuo(), counts);
    EXPECT_EQ(refcount_read(&a->f_ref), 1u);
  }
  EXPECT_GT(nth, 4);
  machine_.set_fault_plan({});
  EXPECT_EQ(KhoOutgoingTreePages().size(), tree);
}

TEST_F(LuoTest, UnpreserveIsNewestFirst) {
  Up();
  const KhoKeySet keys = KhoOutgoing();
  struct file* s = Session("s");
  for (char c : {'a', 'b', 'c'}) ASSERT_EQ(PreserveFd(s, c, File(c)), 0);
  EXPECT_EQ(TakeCalls(), "p:a p:b p:c ");
  EXPECT_EQ(SessionRelease(s), 0);
  EXPECT_EQ(TakeCalls(), "u:c u:b u:a ");
  EXPECT_EQ(KhoOutgoing(), keys);
}

TEST_F(LuoTest, FilesAndSessionsThatFillBlocks) {
  Up();
  const KhoKeySet keys = KhoOutgoing();
  std::vector<struct file*> sessions;
  for (int i = 0; i < 60; ++i) {  // 51 records of sessions fit in a block
    sessions.push_back(Session(("s" + std::to_string(i)).c_str()));
  }
  for (int i = 0; i < 70; ++i) {  // 63 records of files
    ASSERT_EQ(PreserveFd(sessions[7], i, File(static_cast<char>(' ' + i))), 0);
  }
  EXPECT_EQ(KhoOutgoing().count, keys.count + 4);
  NextKernel();
  EXPECT_EQ(CountLuo().incoming_sessions, 60);
  EXPECT_EQ(CountLuo().incoming_files, 70);
  struct file* s = Incoming("s7");
  struct file* file;
  ASSERT_EQ(RetrieveFd(s, 69, &file), 0);
  EXPECT_EQ(LetterOf(file), ' ' + 69);
  EXPECT_EQ(KhoUnclaimed().size(), KhoNeverRestored().size() + 2);
  TakeCalls();
  EXPECT_EQ(Finish(s), 0);
  EXPECT_EQ(TakeCalls().size(), 70u * 4);
  EXPECT_EQ(KhoUnclaimed().size(), KhoNeverRestored().size());
}

TEST_F(LuoTest, FreezeFailureUnwinds) {
  Up();
  struct file* s = Session("s");
  struct file* t = Session("t");
  for (char c : {'a', 'b'}) ASSERT_EQ(PreserveFd(s, c, File(c)), 0);
  for (char c : {'c', 'd', 'e'}) ASSERT_EQ(PreserveFd(t, c, File(c)), 0);
  const KhoKeySet keys = KhoOutgoing();
  const LuoCounts counts = CountLuo();
  TakeCalls();
  g_fail_freeze = 'd';
  EXPECT_EQ(RebootCall(), -EDOM);
  EXPECT_EQ(TakeCalls(), "f:a f:b f:c f:d t:c t:a t:b ");
  EXPECT_EQ(KhoOutgoing(), keys);
  EXPECT_EQ(CountLuo(), counts);
  // The locks are free again, and the next try works.
  ASSERT_EQ(PreserveFd(s, 'f', File('f')), 0);
  g_fail_freeze = 0;
  TakeCalls();
  NextKernel();
  EXPECT_EQ(TakeCalls(), "f:a f:b f:f f:c f:d f:e ");
  EXPECT_EQ(CountLuo().incoming_files, 6);
}

TEST_F(LuoTest, RetrieveAndFinish) {
  Up();
  struct file* s = Session("s");
  for (char c : {'a', 'b', 'c'}) ASSERT_EQ(PreserveFd(s, c, File(c)), 0);
  NextKernel();
  TakeCalls();
  s = Incoming("s");
  struct file *b, *again;
  ASSERT_EQ(RetrieveFd(s, 'b', &b), 0);
  ASSERT_EQ(RetrieveFd(s, 'b', &again), 0);
  EXPECT_EQ(b, again);
  EXPECT_EQ(refcount_read(&b->f_ref), 3u);
  EXPECT_EQ(LetterOf(b), 'b');

  // Not again before finish.
  struct file* out = Session("s");
  EXPECT_EQ(PreserveFd(out, 1, b), -EBUSY);
  g_cannot_finish = 'c';
  EXPECT_EQ(Finish(s), -EBUSY);
  EXPECT_EQ(TakeCalls(), "r:b ");
  g_cannot_finish = 0;
  EXPECT_EQ(Finish(s), 0);
  EXPECT_EQ(TakeCalls(), "d:c k:b d:a ");
  EXPECT_EQ(refcount_read(&b->f_ref), 2u);
  EXPECT_EQ(PreserveFd(out, 1, b), 0);
  EXPECT_EQ(SessionRelease(s), 0);
  EXPECT_EQ(CountLuo().incoming_sessions, 0);
}

TEST_F(LuoTest, FailedRetrieveIsRemembered) {
  Up();
  struct file* s = Session("s");
  for (char c : {'a', 'b'}) ASSERT_EQ(PreserveFd(s, c, File(c)), 0);
  NextKernel();
  s = Incoming("s");
  struct file* file;
  g_fail_retrieve = 'a';
  g_retrieve_error = -EAGAIN;
  EXPECT_EQ(RetrieveFd(s, 'a', &file), -EAGAIN);
  g_retrieve_error = -EIO;
  EXPECT_EQ(RetrieveFd(s, 'a', &file), -EIO);
  g_fail_retrieve = 0;
  TakeCalls();
  EXPECT_EQ(RetrieveFd(s, 'a', &file), -EIO);
  EXPECT_EQ(TakeCalls(), "");
  EXPECT_EQ(SessionRelease(s), 0);
  EXPECT_EQ(TakeCalls(), "d:b e:a ");
}

TEST_F(LuoTest, RetrieveMayBeTriedAgain) {
  Up();
  struct file* s = Session("s");
  ASSERT_EQ(PreserveFd(s, 1, File('a')), 0);
  NextKernel();
  s = Incoming("s");
  struct file* file;
  g_fail_retrieve = 'a';
  g_retrieve_error = -EAGAIN;
  EXPECT_EQ(RetrieveFd(s, 1, &file), -EAGAIN);
  g_fail_retrieve = 0;
  EXPECT_EQ(RetrieveFd(s, 1, &file), 0);
  EXPECT_EQ(Finish(s), 0);
}

// Linux has a WARN_ON() there, and goes on without the entry: the file may be
// preserved at once, and finishing it takes the new entry away.
TEST_F(LuoTest, RetrievedFileThatGetsNoEntryIsAWarningOfLinux) {
  Up();
  struct file* s = Session("s");
  ASSERT_EQ(PreserveFd(s, 1, File('a')), 0);
  NextKernel();
  s = Incoming("s");
  struct file* file;
  machine_.set_fault_plan({FailKind::kAlloc, 2});  // after the handler's
  EXPECT_EQ(RetrieveFd(s, 1, &file), 0);
  EXPECT_TRUE(machine_.fault_fired());
  machine_.set_fault_plan({});
  EXPECT_EQ(machine_.linux_warnings(), 1);
  EXPECT_EQ(machine_.log().back(),
            "<4>WARNING: luo_retrieve_file: a file in no table");
  EXPECT_EQ(CountLuo().busy_objects, 0);
  struct file* out = Session("s");
  EXPECT_EQ(PreserveFd(out, 1, file), 0);
  EXPECT_EQ(CountLuo().busy_objects, 1);
  EXPECT_EQ(Finish(s), 0);
  EXPECT_EQ(CountLuo().busy_objects, 0);
  EXPECT_EQ(SessionRelease(out), 0);
}

TEST_F(LuoTest, ReleaseThatCannotFinishLosesTheSession) {
  Up();
  ASSERT_EQ(PreserveFd(Session("s"), 1, File('a')), 0);
  NextKernel();
  struct file* s = Incoming("s");
  g_cannot_finish = 'a';
  EXPECT_EQ(SessionRelease(s), -EBUSY);
  EXPECT_EQ(SessionRetrieve("s", &s), -EINVAL);
  EXPECT_EQ(CountLuo().incoming_files, 1);
}

TEST_F(LuoTest, IncomingSessionsDoNotGoOn) {
  Up();
  ASSERT_EQ(PreserveFd(Session("s"), 1, File('a')), 0);
  NextKernel();
  struct file* s = Incoming("s");
  EXPECT_NE(s, nullptr);
  NextKernel();
  EXPECT_EQ(SessionRetrieve("s", &s), -ENOENT);
  EXPECT_EQ(KhoUnclaimed().size(), KhoNeverRestored().size());
}

TEST_F(LuoTest, UnknownHandlerFailsEverySession) {
  Up();
  ASSERT_EQ(PreserveFd(Session("s"), 1, File('a')), 0);
  EXPECT_NE(Session("t"), nullptr);
  KexecKernel();  // and the handler is not there
  EXPECT_EQ(LuoOpen(), -EIO);
  EXPECT_EQ(liveupdate_register_file_handler(&g_handler), 0);
  EXPECT_EQ(LuoOpen(), -EIO);
}

TEST_F(LuoTest, HandlersAreRegisteredOnce) {
  Up();
  EXPECT_EQ(liveupdate_register_file_handler(&g_handler), -EEXIST);
  liveupdate_unregister_file_handler(&g_handler);
  EXPECT_EQ(PreserveFd(Session("s"), 1, File('a')), -ENOENT);
  EXPECT_EQ(liveupdate_register_file_handler(&g_handler), 0);
}

TEST_F(LuoTest, SerializedRecords) {
  Up();
  ASSERT_EQ(PreserveFd(Session("one"), 0x1122, File('a')), 0);
  EXPECT_EQ(RebootCall(), 0);
  const struct luo_ser* ser = g_luo.ser_out;
  EXPECT_STREQ(ser->compatible, "luo-v5");
  EXPECT_EQ(ser->liveupdate_num, 1u);
  const char* block = static_cast<const char*>(phys_to_virt(ser->sessions_pa));
  u64 word;
  std::memcpy(&word, block, 8);
  EXPECT_EQ(word, 0u);  // no other block
  std::memcpy(&word, block + 8, 8);
  EXPECT_EQ(word, 1u);  // one record
  EXPECT_STREQ(block + 16, "one");
  std::memcpy(&word, block + 16 + 72, 8);
  EXPECT_EQ(word, 1u);  // file
  std::memcpy(&word, block + 16 + 64, 8);
  const char* files = static_cast<const char*>(phys_to_virt(word));
  EXPECT_STREQ(files + 16, "test-v1");
  std::memcpy(&word, files + 16 + 48, 8);
  EXPECT_EQ(word, 0x100u | 'a');
  std::memcpy(&word, files + 16 + 56, 8);
  EXPECT_EQ(word, 0x1122u);
  EXPECT_TRUE(CountLuo().frozen);
  ASSERT_TRUE(Kexec(config_));
}

TEST_F(LuoTest, NothingMovesOnceFrozen) {
  // At whatever step of the reboot call another process asks for more, it is
  // served in full or waits until its CPU stops.
  for (uint64_t step = 1;; ++step) {
    if (step == 1) Up();
    struct file* s = Session("s");
    ASSERT_EQ(PreserveFd(s, 1, File('a')), 0);
    struct file* late = File('b');
    served_ = false;
    PlanDuring(step, ActorByName("p0"),
               [this, s, late] { served_ = PreserveFd(s, 2, late) == 0; });
    ASSERT_EQ(RebootCall(), 0);
    const bool all = StepsOfLastRun() < step;
    ASSERT_TRUE(Kexec(config_));
    if (all) break;
    ASSERT_EQ(liveupdate_register_file_handler(&g_handler), 0);
    ASSERT_EQ(LuoOpen(), 0);
    struct file* in = Incoming("s");
    EXPECT_EQ(CountLuo().incoming_files, served_ ? 2 : 1) << step;
    EXPECT_EQ(SessionRelease(in), 0);
  }
}

TEST_F(LuoTest, FlbsAreCounted) {
  Up();
  RegisterFlbs();
  EXPECT_EQ(liveupdate_register_flb(&g_handler, &g_flb_a), -EEXIST);
  struct file* s = Session("s");
  TakeCalls();
  ASSERT_EQ(PreserveFd(s, 1, File('a')), 0);
  ASSERT_EQ(PreserveFd(s, 2, File('b')), 0);
  EXPECT_EQ(TakeCalls(), "P:A P:B p:a p:b ");
  void* obj = nullptr;
  ASSERT_EQ(liveupdate_flb_get_outgoing(&g_flb_a, &obj), 0);
  EXPECT_EQ(obj, &g_flb_a);
  liveupdate_flb_put_outgoing(&g_flb_a);
  EXPECT_EQ(liveupdate_flb_get_incoming(&g_flb_a, &obj), -ENODATA);
  SessionRelease(s);
  EXPECT_EQ(TakeCalls(), "u:b u:a U:B U:A ");
  EXPECT_EQ(liveupdate_flb_get_outgoing(&g_flb_a, &obj), -ENOENT);

  g_fail_flb_b = true;
  s = Session("s");
  EXPECT_EQ(PreserveFd(s, 1, File('c')), -ENOSPC);
  EXPECT_EQ(TakeCalls(), "P:A P:B U:A ");
  g_fail_flb_b = false;
  g_fail_preserve = 'c';
  EXPECT_EQ(PreserveFd(s, 1, File('c')), -EIO);
  EXPECT_EQ(TakeCalls(), "P:A P:B p:c U:B U:A ");
}

TEST_F(LuoTest, FlbsCross) {
  Up();
  RegisterFlbs();
  struct file* s = Session("s");
  for (char c : {'a', 'b'}) ASSERT_EQ(PreserveFd(s, c, File(c)), 0);
  NextKernel();
  RegisterFlbs();
  TakeCalls();
  void* obj = nullptr;
  ASSERT_EQ(liveupdate_flb_get_incoming(&g_flb_a, &obj), 0);
  ASSERT_EQ(liveupdate_flb_get_incoming(&g_flb_b, &obj), 0);
  EXPECT_EQ(TakeCalls(), "R:A R:B ");
  s = Incoming("s");
  EXPECT_EQ(Finish(s), 0);
  EXPECT_EQ(TakeCalls(), "d:b d:a ");  // two references are still held
  liveupdate_flb_put_incoming(&g_flb_a);
  liveupdate_flb_put_incoming(&g_flb_b);
  EXPECT_EQ(TakeCalls(), "F:A F:B ");
  EXPECT_EQ(liveupdate_flb_get_incoming(&g_flb_a, &obj), -ENODATA);
}

TEST_F(LuoTest, FinishingWithAnFlbThatWasNeverFetchedWarns) {
  Up();
  RegisterFlbs();
  ASSERT_EQ(PreserveFd(Session("s"), 1, File('a')), 0);
  NextKernel();
  RegisterFlbs();
  TakeCalls();
  EXPECT_EQ(Finish(Incoming("s")), 0);
  EXPECT_EQ(TakeCalls(), "d:a ");
  expected_violations_ = machine_.violations().size();
  EXPECT_GT(expected_violations_, 0u);
}

TEST_F(LuoTest, DamagedStatePanics) {
  Up();
  ASSERT_EQ(PreserveFd(Session("s"), 1, File('a')), 0);
  ASSERT_EQ(RebootCall(), 0);
  g_luo.ser_out->compatible[0] = 'x';
  EXPECT_FALSE(Kexec(config_));
  ASSERT_EQ(machine_.violations().size(), 1u);
  EXPECT_EQ(machine_.violations()[0].property, "refusal");
  expected_violations_ = 1;
}

TEST(LuoDigestTest, SameHistorySameDigest) {
  uint64_t digests[2];
  for (uint64_t& digest : digests) {
    Machine machine(MakeGeometry("small", 2).value(), 1);
    ResetActors();
    KernelConfig config;
    config.has_luo_hugetlb = false;
    ASSERT_TRUE(Boot(config));
    struct file* session;
    EXPECT_EQ(LuoOpen(), 0);
    EXPECT_EQ(SessionCreate("s", &session), 0);
    struct file* file = memfd_alloc_file("", 0);
    EXPECT_EQ(PreserveFd(session, 1, file), 0);
    EXPECT_EQ(RunOnActor(ActorByName("agent"), [] { Reboot(true); }),
              RunResult::kKernelDown);
    ASSERT_TRUE(Kexec(config));
    digest = machine.digest();
    ResetActors();
  }
  EXPECT_EQ(digests[0], digests[1]);
}

TEST_F(LuoTest, RebootNeedsAnImage) {
  Up();
  EXPECT_EQ(Reboot(/*image_loaded=*/false), -EINVAL);
}

}  // namespace
}  // namespace sim
