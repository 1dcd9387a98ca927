complete -c qfilexchgd -f
complete -c qfilexchgd -l config -r -F -d 'The configuration'
complete -c qfilexchgd -l dialog -x -a 'terminal window control none' -d 'How the person is asked'
complete -c qfilexchgd -l check -d 'Only check the configuration and the policy'
complete -c qfilexchgd -l help -d 'Show usage'
complete -c qfilexchgd -l version -d 'Show the version'
