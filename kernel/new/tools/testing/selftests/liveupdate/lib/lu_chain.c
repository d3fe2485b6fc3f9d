// SPDX-License-Identifier: GPL-2.0-only

/*
 * Chains of kernels, each one booted by the one before it by kexec: see
 * lu_chain.h.
 */

#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/kexec.h>
#include <linux/reboot.h>
#include <linux/unistd.h>

#include <libliveupdate.h>
#include <lu_chain.h>

#define CMDLINE_SIZE	1024

#define KERNEL_IMAGE	"/kernel"
#define INIT_BINARY	"/init"
#define INITRAMFS_IMAGE	"/initramfs"
/*
 * The first serial port of QEMU's machine. On a host that is busy, emulated CPUs
 * may stand still for longer than a timer takes that works.
 */
#ifdef __aarch64__
#define MACHINE_ARGS	"console=ttyAMA0"
#else
#define MACHINE_ARGS	"console=ttyS0 no_timer_check"
#endif

/*
 * What all kernels of all tests are booted with. RCU may see no stall, either, and
 * a kernel that can look after free memory is to do so.
 */
#define COMMON_ARGS							\
	MACHINE_ARGS " loglevel=6 panic=-1 oops=panic kho=on liveupdate=on " \
	"rcupdate.rcu_cpu_stall_timeout=300 page_poison=1 slab_debug=FZ"

#define SYSLOG_READ_ALL	3

#define STATE_SESSION	"lu-chain-state"
#define STATE_TOKEN	1
#define STATE_MAGIC	0x6c756f68

const struct chain_test *test;
int luo_fd = -1;
int stage;
int nr_failures;
const char *chain_id = "";

static int state_session = -1;

/* What goes before the state of a test. */
struct state_header {
	__u32 magic;
	__u32 stage;
};

/* A line of /proc/meminfo, in kB. */
long memory_number(const char *name)
{
	static char buf[4096];
	const char *line;
	int fd = open("/proc/meminfo", O_RDONLY);
	ssize_t len;

	len = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);
	if (len < 0)
		fail_exit("/proc/meminfo");
	close(fd);
	buf[len] = 0;
	line = strstr(buf, name);
	if (!line)
		return -1;
	for (line += strlen(name); *line == ' '; line++)
		;

	return atol(line);
}

/* Memory in kB that is free, on the lists of single CPUs, too. */
long free_memory(void)
{
	static char buf[65536];
	const char *line = buf;
	size_t len = 0;
	ssize_t ret;
	long pages = 0;
	int fd;

	/*
	 * What CPUs have counted by themselves goes to the sums. It also empties
	 * lists: before these are looked at, or their pages would count twice.
	 */
	fd = open("/proc/sys/vm/stat_refresh", O_WRONLY);
	if (fd < 0 || write(fd, "1", 1) != 1)
		fail_exit("stat_refresh");
	close(fd);
	fd = open("/proc/zoneinfo", O_RDONLY);
	if (fd < 0)
		fail_exit("/proc/zoneinfo");
	while ((ret = read(fd, buf + len, sizeof(buf) - 1 - len)) > 0)
		len += ret;
	close(fd);
	buf[len] = 0;
	while ((line = strstr(line, " count:"))) {
		for (line += strlen(" count:"); *line == ' '; line++)
			;
		pages += atol(line);
	}

	return pages * (getpagesize() >> 10) + memory_number("MemFree:");
}

void print_memory(const char *when)
{
	ksft_print_msg("memory: total %ld kB, free %ld kB (%s)\n",
		       memory_number("MemTotal:"), memory_number("MemFree:"), when);
}

/*
 * Sessions
 */

/* Only one at a time can have it open. */
static int luo_device(void)
{
	if (luo_fd < 0)
		luo_fd = luo_open_device();
	if (luo_fd < 0)
		fail_exit(LUO_DEVICE);

	return luo_fd;
}

int new_session(const char *name)
{
	int fd = luo_create_session(luo_device(), name);

	if (fd < 0)
		ksft_exit_fail_msg("creating session %s: %s\n", name,
				   strerror(-fd));

	return fd;
}

int take_session(const char *name)
{
	int fd = luo_retrieve_session(luo_device(), name);

	if (fd < 0)
		ksft_exit_fail_msg("retrieving session %s: %s\n", name,
				   strerror(-fd));

	return fd;
}

void preserve_fd(int session, __u64 token, int fd)
{
	int err = luo_session_preserve_fd(session, fd, token);

	if (err)
		ksft_exit_fail_msg("preserving file %llu: %s\n", token,
				   strerror(-err));
}

int retrieve_fd(int session, __u64 token)
{
	int fd = luo_session_retrieve_fd(session, token);

	if (fd < 0)
		ksft_exit_fail_msg("retrieving file %llu: %s\n", token,
				   strerror(-fd));

	return fd;
}

void finish(int session)
{
	int err = luo_session_finish(session);

	if (err)
		ksft_exit_fail_msg("ending a session: %s\n", strerror(-err));
	close(session);
}

static void write_all(int fd, const void *data, size_t len)
{
	while (len) {
		ssize_t ret = write(fd, data, len);

		if (ret <= 0)
			fail_exit("write");
		data = (const char *)data + ret;
		len -= ret;
	}
}

/* Preserve what this kernel knows: @len bytes at @data. */
void save_chain_state(const void *data, size_t len)
{
	struct state_header header = { .magic = STATE_MAGIC, .stage = stage };
	int fd = sys_memfd_create("state", 0);

	state_session = new_session(STATE_SESSION);
	if (fd < 0)
		fail_exit("memfd_create");
	write_all(fd, &header, sizeof(header));
	write_all(fd, data, len);
	preserve_fd(state_session, STATE_TOKEN, fd);
	close(fd);
}

/* Take it back, to preserve another one. */
void drop_chain_state(void)
{
	close(state_session);
}

void load_chain_state(void *data, size_t len)
{
	int session = take_session(STATE_SESSION);
	int fd = retrieve_fd(session, STATE_TOKEN);
	struct state_header header;

	if (sys_pread(fd, &header, sizeof(header), 0) != sizeof(header) ||
	    header.magic != STATE_MAGIC || header.stage != (__u32)stage - 1 ||
	    sys_pread(fd, data, len, sizeof(header)) != (ssize_t)len)
		ksft_exit_fail_msg("the state is not what stage %d left\n",
				   stage - 1);
	close(fd);
	finish(session);
}

/*
 * The next kernel
 */

static size_t pad4(size_t len)
{
	return (len + 3) & ~3UL;
}

/* One entry of a cpio archive ("newc"). */
static void cpio_entry(int out, const char *name, unsigned int mode,
		       unsigned int major, unsigned int minor, const char *from)
{
	static unsigned int ino = 1;
	static char buf[65536];
	size_t size = 0, len, done = 0;
	struct stat st;
	int in = -1;

	if (from) {
		in = open(from, O_RDONLY);
		if (in < 0 || fstat(in, &st))
			fail_exit("%s", from);
		size = st.st_size;
	}
	len = snprintf(buf, sizeof(buf),
		       "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s",
		       ino++, mode, 0, 0, 1, 0, (unsigned int)size, 0, 0, major,
		       minor, (unsigned int)strlen(name) + 1, 0, name);
	memset(buf + len, 0, 4);
	write_all(out, buf, pad4(len + 1));
	while (done < size) {
		ssize_t ret = read(in, buf, sizeof(buf));

		if (ret <= 0)
			fail_exit("%s", from);
		write_all(out, buf, ret);
		done += ret;
	}
	memset(buf, 0, 4);
	write_all(out, buf, pad4(size) - size);
	if (in >= 0)
		close(in);
}

/* The initramfs of the next kernel is like that of this one. */
static int make_initramfs(void)
{
	struct stat st;
	unsigned int i;
	int fd = open(INITRAMFS_IMAGE, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0)
		fail_exit(INITRAMFS_IMAGE);
	cpio_entry(fd, "dev", S_IFDIR | 0755, 0, 0, NULL);
	cpio_entry(fd, "proc", S_IFDIR | 0755, 0, 0, NULL);
	cpio_entry(fd, "sys", S_IFDIR | 0755, 0, 0, NULL);
	cpio_entry(fd, "debugfs", S_IFDIR | 0755, 0, 0, NULL);
	cpio_entry(fd, "dev/console", S_IFCHR | 0600, 5, 1, NULL);
	cpio_entry(fd, "init", S_IFREG | 0755, 0, 0, INIT_BINARY);
	cpio_entry(fd, "kernel", S_IFREG | 0644, 0, 0, KERNEL_IMAGE);
	for (i = 0; chain_files[i]; i++)
		if (!stat(chain_files[i], &st))
			cpio_entry(fd, chain_files[i] + 1,
				   S_IFREG | (st.st_mode & 0777), 0, 0,
				   chain_files[i]);
	cpio_entry(fd, "TRAILER!!!", 0, 0, 0, NULL);
	close(fd);

	/* The kernel reads it only if nobody can write to it. */
	return open(INITRAMFS_IMAGE, O_RDONLY);
}

/* Load the next kernel from @image, with @args on its command line. */
void load_kernel_image(const char *image, const char *args)
{
	char cmdline[CMDLINE_SIZE];
	int kernel, initramfs, len;

	len = snprintf(cmdline, sizeof(cmdline),
		       COMMON_ARGS " luo_test=%s luo_stage=%d %s",
		       test->name, stage + 1, args);
	kernel = open(image, O_RDONLY);
	if (kernel < 0)
		fail_exit("%s", image);
	initramfs = make_initramfs();
	if (syscall(__NR_kexec_file_load, kernel, initramfs, len + 1, cmdline,
		    0))
		fail_exit("kexec_file_load");
	close(initramfs);
	close(kernel);
}

void load_kernel(const char *args)
{
	load_kernel_image(KERNEL_IMAGE, args);
}

/* What it takes is free again. */
void unload_kernel(void)
{
	if (syscall(__NR_kexec_file_load, -1, -1, 0, NULL, KEXEC_FILE_UNLOAD))
		fail_exit("unloading the kernel");
	unlink(INITRAMFS_IMAGE);
}

/* Only returns if the reboot fails, with the reason. */
int try_reboot(void)
{
	if (nr_failures)
		ksft_exit_fail_msg("stage %d of %s has failures\n", stage,
				   test->name);
	ksft_print_msg("stage %d of %s done, rebooting\n", stage, test->name);
	syscall(__NR_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
		LINUX_REBOOT_CMD_KEXEC, NULL);

	return -errno;
}

/*
 * The program
 */

static void list_tests(const struct chain_test *tests, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		printf("%s %u %d %s " COMMON_ARGS " luo_test=%s luo_stage=1 %s\n",
		       tests[i].name, tests[i].mib, tests[i].nr_stages,
		       tests[i].needs ? tests[i].needs : "-",
		       tests[i].name, tests[i].args);
}

/* Whether the log has it. */
bool kernel_said(const char *text)
{
	static char log[1 << 20];
	int len = syscall(__NR_syslog, SYSLOG_READ_ALL, log, sizeof(log) - 1);

	if (len < 0)
		fail_exit("syslog");
	log[len] = 0;

	return strstr(log, text);
}

/* The value of a "NAME=VALUE" word of the kernel's command line. */
bool cmdline_word(const char *name, char *value, size_t len)
{
	char cmdline[CMDLINE_SIZE] = {};
	const char *word;
	int fd = open("/proc/cmdline", O_RDONLY);
	size_t n = 0;

	if (fd < 0 || read(fd, cmdline, sizeof(cmdline) - 1) < 0)
		fail_exit("/proc/cmdline");
	close(fd);
	word = strstr(cmdline, name);
	if (!word)
		return false;
	for (word += strlen(name); *word > ' ' && n + 1 < len; word++)
		value[n++] = *word;
	value[n] = 0;

	return true;
}

static void run_stage(const struct chain_test *tests, unsigned int nr)
{
	char name[32], number[8];
	unsigned int i;

	if (!cmdline_word("luo_test=", name, sizeof(name)) ||
	    !cmdline_word("luo_stage=", number, sizeof(number)))
		ksft_exit_fail_msg("no luo_test= and luo_stage= on the kernel's command line\n");
	stage = atoi(number);
	for (i = 0; i < nr; i++)
		if (!strcmp(tests[i].name, name))
			test = &tests[i];
	if (!test || stage < 1 || stage > test->nr_stages)
		ksft_exit_fail_msg("no test %s with a stage %d\n", name, stage);

	ksft_print_header();
	ksft_set_plan(1);
	ksft_print_msg("stage %d of %s begins\n", stage, name);
	print_memory("at the beginning");
	i = stage - 1;
	if (i >= MAX_STAGES)
		i = MAX_STAGES - 1;
	while (!test->stages[i])
		i--;
	test->stages[i]();
	print_memory("at the end");
	if (stage < test->nr_stages)
		ksft_exit_fail_msg("stage %d of %s has led nowhere\n", stage,
				   name);
	if (nr_failures)
		ksft_exit_fail_msg("%s: %d failures\n", name, nr_failures);
	ksft_test_result_pass("%s\n", name);
	ksft_finished();
}

static void mount_all(void)
{
	if (mount("devtmpfs", "/dev", "devtmpfs", 0, NULL) && errno != EBUSY)
		fail_exit("mounting /dev");
	if (mount("proc", "/proc", "proc", 0, NULL))
		fail_exit("mounting /proc");
	if (mount("sysfs", "/sys", "sysfs", 0, NULL))
		fail_exit("mounting /sys");
	if (mount("debugfs", "/debugfs", "debugfs", 0, NULL))
		fail_exit("mounting /debugfs");
}

/* What the console is spared, for somebody who has to find out. */
static void print_kernel_log(void)
{
	static char log[1 << 17];
	int len;

	len = syscall(__NR_syslog, 3 /* SYSLOG_ACTION_READ_ALL */, log,
		      sizeof(log));
	if (len <= 0)
		return;
	printf("--- the kernel's log:\n");
	fflush(stdout);
	write_all(STDOUT_FILENO, log, len);
	printf("--- its end\n");
}

static void be_init(const struct chain_test *tests, unsigned int nr)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		fail_exit("fork");
	if (!pid) {
		mount_all();
		run_stage(tests, nr);
		exit(KSFT_FAIL);
	}
	while (waitpid(-1, &status, 0) != pid)
		;
	if (WTERMSIG(status))
		ksft_print_msg("FAILURE: ended by signal %d\n",
			       WTERMSIG(status));
	if (status)
		print_kernel_log();
	reboot(RB_AUTOBOOT);
}

int chain_main(int argc, char *argv[], const struct chain_test *tests,
	       unsigned int nr)
{
	if (argc == 2 && !strcmp(argv[1], "--list"))
		list_tests(tests, nr);
	else if (getpid() == 1)
		be_init(tests, nr);
	else
		run_stage(tests, nr);

	return 0;
}
