//! Kernels of several distributions, in memory.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::hint::black_box;

use proptest::prelude::*;

use palisade_report::bound::MAX_TEXT;
use palisade_report::section::kernel::KernelPart;
use palisade_report::section::kernel::ModuleState;

use super::*;
use crate::MemoryHost;

const SECURE_BOOT: &str =
    "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

fn kernel(host: &MemoryHost, modules: &[&str]) -> Kernel {
    let modules = modules.iter().map(|name| (*name).to_owned()).collect();
    let interest = Interest { modules, ..Interest::default() };
    match read(host, &interest) {
        Section::Known(kernel) => kernel,
        Section::Unknown { why } => panic!("{why}"),
    }
}

fn running(release: &str) -> MemoryHost {
    MemoryHost::default().file("/proc/sys/kernel/osrelease", format!("{release}\n"))
}

fn with_kernel(host: MemoryHost, release: &str) -> MemoryHost {
    host.file(&format!("/boot/vmlinuz-{release}"), "")
        .file(&format!("/boot/initrd.img-{release}"), "")
        .file(&format!("/usr/lib/modules/{release}/modules.dep"), "")
}

fn debian() -> MemoryHost {
    let host = running("6.1.0-9-amd64").link("/lib/modules", "/usr/lib/modules");
    with_kernel(with_kernel(host, "6.1.0-9-amd64"), "6.1.0-50-amd64")
}

const GRUB: &str = r#"
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
else
   set default="DEFAULT"
fi
function load_video {
  insmod all_video
}
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple' {
	load_video
	linux	/boot/vmlinuz-6.1.0-50-amd64 root=UUID=1 ro  quiet
}
submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced' {
	menuentry 'Debian GNU/Linux, with Linux 6.1.0-50-amd64' $menuentry_id_option 'new' {
		linux	/boot/vmlinuz-6.1.0-50-amd64 root=UUID=1 ro
	}
	menuentry 'Debian GNU/Linux, with Linux 6.1.0-9-amd64' $menuentry_id_option 'old' {
		linux	/boot/vmlinuz-6.1.0-9-amd64 root=UUID=1 ro
	}
}
"#;

fn default_under(preset: &str, environment: &str) -> Option<String> {
    let host = debian()
        .file("/boot/grub/grub.cfg", GRUB.replace("DEFAULT", preset))
        .file("/boot/grub/grubenv", format!("# GRUB Environment Block\n{environment}\n####"));
    kernel(&host, &[]).boot_default.value().cloned()
}

#[test]
fn installed_kernels_are_in_version_order_and_leftovers_do_not_count() {
    let host = with_kernel(debian(), "6.12.1-1-cloud-amd64")
        .directory("/usr/lib/modules/7.0.0-1-amd64/kernel")
        .file("/boot/initrd.img-8.0.0-1-amd64", "")
        .file("/boot/vmlinuz-0-rescue-5e8d9a1b7c6f4e3d8a9b0c1d2e3f4a5b", "")
        .file("/boot/vmlinuz-6.1.0-50-amd64.old", "")
        .link("/boot/vmlinuz", "vmlinuz-6.1.0-50-amd64");
    let kernel = kernel(&host, &[]);
    let releases: Vec<_> =
        kernel.installed.value().unwrap().iter().map(|kernel| kernel.release.as_str()).collect();
    assert_eq!(releases, ["6.1.0-9-amd64", "6.1.0-50-amd64", "6.12.1-1-cloud-amd64"]);
    let parts = &kernel.installed.value().unwrap()[1].parts;
    assert_eq!(
        *parts,
        BTreeSet::from([KernelPart::Image, KernelPart::Initrd, KernelPart::Modules])
    );
    assert_eq!(kernel.newest.value().unwrap(), "6.1.0-50-amd64", "the running flavour only");
}

#[test]
fn images_inside_modules_directories_count() {
    let release = "5.14.0-427.13.1.el9_4.x86_64";
    let host = running(release)
        .file(&format!("/lib/modules/{release}/modules.dep"), "")
        .file(&format!("/lib/modules/{release}/vmlinuz"), "")
        .file(&format!("/boot/initramfs-{release}.img"), "")
        .file(&format!("/boot/initramfs-{release}kdump.img"), "");
    let kernel = kernel(&host, &[]);
    assert_eq!(kernel.installed.value().unwrap().len(), 1);
    assert_eq!(kernel.installed.value().unwrap()[0].parts.len(), 3);
    assert_eq!(kernel.newest.value().unwrap(), release);
}

#[test]
fn no_installed_kernel_is_an_empty_list_and_an_unreadable_boot_is_not() {
    let none = kernel(&running("6.18.44-fc"), &[]);
    assert_eq!(none.installed.value(), Some(&Vec::new()));
    assert!(matches!(none.newest, Reading::Absent { .. }));
    let host = debian().without("/boot").unreadable("/boot", WhyKind::PermissionDenied);
    let unreadable = kernel(&host, &[]);
    assert!(matches!(unreadable.installed, Reading::Unknown { .. }));
    assert!(matches!(unreadable.newest, Reading::Unknown { .. }));
    assert!(matches!(unreadable.boot_default, Reading::Unknown { .. }));
}

#[test]
fn grub_starts_what_its_default_leads_to() {
    let (old, new) = (Some("6.1.0-9-amd64".to_owned()), Some("6.1.0-50-amd64".to_owned()));
    for (preset, environment, expected) in [
        ("0", "", &new),
        ("1>1", "", &old),
        ("gnulinux-advanced>old", "", &old),
        (
            "Advanced options for Debian GNU/Linux>Debian GNU/Linux, with Linux 6.1.0-9-amd64",
            "",
            &old,
        ),
        ("1", "", &new),
        ("no such entry", "", &new),
        ("${saved_entry}", "saved_entry=gnulinux-advanced>old", &old),
        ("${saved_entry}", "", &new),
        ("0", "next_entry=1>1", &old),
        ("0", "next_entry=", &new),
        ("$(computed)", "", &None),
    ] {
        assert_eq!(default_under(preset, environment), *expected, "{preset} {environment}");
    }
}

#[test]
fn no_boot_loader_is_absent() {
    assert!(matches!(kernel(&debian(), &[]).boot_default, Reading::Absent { .. }));
}

#[test]
fn grub_with_loader_entries_starts_the_saved_or_the_newest() {
    let entry = |release: &str| {
        format!("title Linux {release}\nversion {release}\nlinux /vmlinuz-{release}\n")
    };
    let (old, new) = ("5.14.0-70.el9.x86_64", "5.14.0-427.el9.x86_64");
    let host = running(old)
        .file("/boot/grub2/grub.cfg", "set default=\"${saved_entry}\"\nblscfg\n")
        .file("/boot/grub2/grubenv", format!("saved_entry=abc-{old}\n"))
        .file(&format!("/boot/loader/entries/abc-{old}.conf"), entry(old))
        .file(&format!("/boot/loader/entries/abc-{new}.conf"), entry(new))
        .file("/boot/loader/entries/abc-0-rescue.conf", entry("0-rescue-abc"));
    assert_eq!(kernel(&host, &[]).boot_default.value().unwrap(), old);
    let host = host.file("/boot/grub2/grubenv", "");
    assert_eq!(kernel(&host, &[]).boot_default.value().unwrap(), new);
}

#[test]
fn systemd_boot_starts_what_loader_conf_or_the_firmware_names() {
    let entry = |release: &str| format!("version {release}\nlinux /abc/{release}/linux\n");
    let host = running("6.8.1")
        .file("/efi/loader/loader.conf", "timeout 3\n")
        .file("/efi/loader/entries/abc-6.8.1.conf", entry("6.8.1"))
        .file("/efi/loader/entries/abc-6.8.10+2-1.conf", entry("6.8.10"));
    assert_eq!(kernel(&host, &[]).boot_default.value().unwrap(), "6.8.10");
    let pinned = host.clone().file("/efi/loader/loader.conf", "default *-6.8.1.conf\n");
    assert_eq!(kernel(&pinned, &[]).boot_default.value().unwrap(), "6.8.1");
    let mut variable = vec![7, 0, 0, 0];
    variable.extend("abc-6.8.1.conf\0".encode_utf16().flat_map(u16::to_le_bytes));
    let told = host.clone().file(
        "/sys/firmware/efi/efivars/LoaderEntryDefault-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f",
        variable,
    );
    assert_eq!(kernel(&told, &[]).boot_default.value().unwrap(), "6.8.1");
    let unified = host.file("/efi/EFI/Linux/x.efi", "");
    assert!(matches!(kernel(&unified, &[]).boot_default, Reading::Unknown { .. }));
}

#[test]
fn an_empty_secret_does_not_outgrow_the_bound() {
    let line = format!("token{}=", "x".repeat(MAX_TEXT - 6));
    let words = parameters::parse(line.as_bytes()).unwrap();
    assert_eq!(words.iter().map(String::len).max(), Some(MAX_TEXT), "{words:?}");
}

#[test]
fn parameters_do_not_tell_one_machine_from_another() {
    let line = b"BOOT_IMAGE=(hd0,gpt2)/vmlinuz-6.1.0-50-amd64 \
        root=UUID=0a1b2c3d-0000-1111-2222-333344445555 resume=PARTUUID=deadbeef-01 \
        ip=10.0.0.7::10.0.0.1:255.255.255.0:node7:eth0:off rd.luks.uuid=luks-1 \
        console=ttyS0,115200n8 crashkernel=1G-4G:192M,4G-:256M log=10.0.0.9:514 dyndbg=\"a b\" \
        inst.vncpassword=hunter2 mitigations=off mac=52:54:00:12:34:56 root=/dev/mapper/vg-root \
        -- nokaslr\n";
    assert_eq!(
        parameters::parse(line).unwrap(),
        [
            "BOOT_IMAGE=(hd0,gpt2)/vmlinuz-6.1.0-50-amd64",
            "root=UUID=*",
            "resume=PARTUUID=*",
            "ip=*",
            "rd.luks.uuid=*",
            "console=ttyS0,115200n8",
            "crashkernel=1G-4G:192M,4G-:256M",
            "log=*",
            "dyndbg=a b",
            "inst.vncpassword=*",
            "mitigations=off",
            "mac=*",
            "root=/dev/mapper/vg-root",
        ]
    );
}

fn states(host: &MemoryHost, names: &[&str]) -> BTreeMap<String, Option<ModuleState>> {
    let modules = kernel(host, names).modules;
    let modules = modules.value().expect("known").clone();
    modules.into_iter().map(|(name, state)| (name, state.value().copied())).collect()
}

#[test]
fn a_module_is_loaded_built_in_blocked_loadable_or_missing() {
    let host = debian()
        .file("/proc/modules", "br_netfilter 32768 0 - Live 0x0\n")
        .file("/proc/cmdline", "module_blacklist=sctp,dccp\n")
        .file("/usr/lib/modules/6.1.0-9-amd64/modules.builtin", "kernel/fs/ext4/ext4.ko\n")
        .file(
            "/usr/lib/modules/6.1.0-9-amd64/modules.dep",
            "kernel/drivers/usb/storage/usb-storage.ko.xz: kernel/drivers/usb/usbcore.ko\n\
             kernel/fs/udf/udf.ko:\nkernel/net/sctp/sctp.ko:\nkernel/fs/hfs/hfs.ko.zst:\n\
             kernel/net/rds/rds.ko:\nkernel/net/tipc/tipc.ko:\n",
        )
        .file(
            "/etc/modprobe.d/hard.conf",
            "# udf\ninstall usb-storage \\\n  /bin/false\nblacklist udf\n\
             install hfs /usr/bin/true # no\ninstall tipc /sbin/modprobe --ignore-install tipc\n",
        )
        .file("/usr/lib/modprobe.d/hard.conf", "install rds /bin/false\n")
        .link("/etc/modprobe.d/masked.conf", "/dev/null")
        .special("/dev/null");
    let names = ["br_netfilter", "ext4", "usb-storage", "udf", "hfs", "rds", "tipc", "sctp", "x"];
    let expected = [
        ("br_netfilter", ModuleState::Loaded),
        ("ext4", ModuleState::BuiltIn),
        ("usb-storage", ModuleState::Blocked),
        ("udf", ModuleState::Loadable),
        ("hfs", ModuleState::Blocked),
        ("rds", ModuleState::Loadable),
        ("tipc", ModuleState::Loadable),
        ("sctp", ModuleState::Blocked),
        ("x", ModuleState::Missing),
    ];
    let expected = expected.map(|(name, state)| (name.to_owned(), Some(state)));
    assert_eq!(states(&host, &names), BTreeMap::from(expected));
    let blind = host.unreadable("/etc/modprobe.d/z.conf", WhyKind::PermissionDenied);
    assert_eq!(states(&blind, &["udf", "ext4"])["udf"], None, "it may be blocked there");
    assert_eq!(states(&blind, &["ext4"])["ext4"], Some(ModuleState::BuiltIn));
}

#[test]
fn a_kernel_without_modules_still_tells_its_file_systems() {
    let host = running("6.18.44-fc")
        .file("/proc/filesystems", "nodev\toverlay\n\text4\n")
        .directory("/sys/module/rds");
    let states = states(&host, &["overlay", "cramfs", "rds", "tipc"]);
    assert_eq!(states["overlay"], Some(ModuleState::BuiltIn));
    assert_eq!(states["cramfs"], Some(ModuleState::Missing));
    assert_eq!(states["rds"], Some(ModuleState::BuiltIn));
    assert_eq!(states["tipc"], None);
}

#[test]
fn a_running_release_without_its_directory_leaves_modules_unknown() {
    let host = running("6.1.0-8-amd64").file("/proc/modules", "overlay 1 0 - Live 0x0\n");
    let states = states(&host, &["overlay", "udf"]);
    assert_eq!(states["overlay"], Some(ModuleState::Loaded));
    assert_eq!(states["udf"], None);
}

#[test]
fn no_efi_must_be_seen() {
    let state = |host: MemoryHost| kernel(&host, &[]).secure_boot;
    assert!(matches!(state(running("1").file("/sys/firmware/acpi/x", "")), Reading::Absent { .. }));
    for blind in [
        running("1"),
        running("1").directory("/sys/firmware"),
        running("1").directory("/sys/firmware/efi/efivars"),
        running("1").unreadable("/sys/firmware", WhyKind::PermissionDenied),
        running("1").file(SECURE_BOOT, [6, 0, 0, 0]),
    ] {
        assert!(matches!(state(blind), Reading::Unknown { .. }));
    }
    let variable = |byte| running("1").file(SECURE_BOOT, [6, 0, 0, 0, byte]);
    assert_eq!(state(variable(1)).value(), Some(&Switch::On));
    assert_eq!(state(variable(0)).value(), Some(&Switch::Off));
}

#[test]
fn an_unmounted_kernel_file_system_proves_nothing() {
    let blind =
        kernel(&running("1").directory("/sys/kernel/security").directory("/sys/fs/selinux"), &[]);
    assert!(matches!(blind.lsm, Reading::Unknown { .. }));
    assert!(matches!(blind.lockdown, Reading::Unknown { .. }));
    assert!(matches!(blind.selinux_enforcing, Reading::Unknown { .. }));
    assert!(matches!(blind.apparmor, Reading::Unknown { .. }));
    assert!(matches!(blind.livepatch, Reading::Absent { .. }));
    assert!(matches!(blind.smt, Reading::Unknown { .. }));
    let host = running("1")
        .file("/sys/kernel/security/lsm", "lockdown,capability,apparmor")
        .file("/sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
        .file("/sys/module/apparmor/parameters/enabled", "Y\n")
        .file("/sys/kernel/livepatch/p1/enabled", "1\n")
        .file("/sys/kernel/livepatch/p1/transition", "0\n")
        .file("/sys/devices/system/cpu/vulnerabilities/meltdown", "Mitigation: PTI\n")
        .file("/sys/devices/system/cpu/smt/active", "1\n")
        .file("/proc/sys/kernel/tainted", "4609\n")
        .directory("/sys/fs");
    let kernel = kernel(&host, &[]);
    assert_eq!(kernel.lsm.value().unwrap(), &["lockdown", "capability", "apparmor"]);
    assert_eq!(kernel.lockdown.value().unwrap(), "integrity");
    assert_eq!(kernel.apparmor.value(), Some(&Switch::On));
    assert_eq!(kernel.livepatch.value().unwrap()[0].transition, Switch::Off);
    assert_eq!(kernel.vulnerabilities.value().unwrap()["meltdown"], "Mitigation: PTI");
    assert_eq!(kernel.smt.value(), Some(&Switch::On));
    assert_eq!(kernel.taint.value().unwrap(), &BTreeSet::from([0, 9, 12]));
    assert!(matches!(kernel.selinux_enforcing, Reading::Absent { .. }));
    assert!(matches!(kernel.module_signatures, Reading::Absent { .. }));
}

#[test]
fn a_host_that_shows_nothing_has_no_absent_kernel() {
    let kernel = kernel(&MemoryHost::default(), &["udf"]);
    assert!(matches!(kernel.release, Reading::Unknown { .. }));
    assert!(matches!(kernel.parameters, Reading::Unknown { .. }));
    assert!(matches!(kernel.taint, Reading::Unknown { .. }));
    assert!(matches!(kernel.modules, Reading::Unknown { .. }));
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        text in "(menuentry|submenu|set default=|linux|if|fi|[{}'\"$>0-9 \n\\\\]){0,40}",
    ) {
        for bytes in [bytes.as_slice(), text.as_bytes()] {
            let menu = grub::parse_config(bytes);
            let environment = grub::parse_environment(bytes);
            if let grub::Choice::Entry(entry) = grub::choose(&menu, &environment) {
                black_box(grub::find(&menu.items, &entry));
            }
            black_box(grub::find(&menu.items, &text));
            black_box(loader::parse_entry(&text, bytes));
            black_box(loader::parse_default(bytes));
            black_box(loader::parse_variable(bytes));
            black_box(modules::parse_installs(bytes));
            prop_assert!(parameters::parse(bytes).is_ok());
            prop_assert!(protection::parse_secure_boot(bytes).is_ok() == matches!(bytes.get(4), Some(0 | 1)));
        }
        black_box(modules::module_of_path(&text));
        black_box(installed::parse_name(&text));
        prop_assert!(loader::matches("*", &text));
        prop_assert!(loader::matches(&text.replace('*', "?"), &text));
        prop_assert!(cpu::parse_taint(&text).is_ok() == text.trim().parse::<u64>().is_ok());
        prop_assert!(protection::parse_lockdown(&text).is_err());
    }
}
