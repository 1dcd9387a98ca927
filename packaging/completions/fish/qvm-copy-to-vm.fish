# Which VMs there are, no VM is told, so those are offered that were sent to last. Nothing is asked, and nothing is run.

function __qvm_copy_to_vm_recent
    set -l state $XDG_STATE_HOME
    test -n "$state"; or set state $HOME/.local/state
    test -r $state/qfilexchg/recent-vms; or return
    while read -l name
        string match --quiet --regex '^[A-Za-z0-9_][A-Za-z0-9._-]*$' -- $name; and echo $name
    end <$state/qfilexchg/recent-vms
end

# The first word that is no option is the name of a VM.
function __qvm_copy_to_vm_needs_name
    set -l words (commandline -opc)
    test (count (string match --invert --regex -- '^-' $words[2..-1])) -eq 0
end

complete -c qvm-copy-to-vm -n __qvm_copy_to_vm_needs_name -f -a '(__qvm_copy_to_vm_recent)' -d 'A VM'
complete -c qvm-copy-to-vm -l reuse -d 'Use the pendrive that is there already'
complete -c qvm-copy-to-vm -l timeout -x -d 'How long to wait for each answer, in seconds'
complete -c qvm-copy-to-vm -l progress -d 'Show progress even when stderr is no terminal'
complete -c qvm-copy-to-vm -l progress-lines -d 'Write progress to stdout, for programs'
complete -c qvm-copy-to-vm -l mode -x -a 'write mount' -d 'How files get onto the pendrive'
complete -c qvm-copy-to-vm -l help -d 'Show usage'
complete -c qvm-copy-to-vm -l version -d 'Show the version'
