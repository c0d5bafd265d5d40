from leym.cli.main import main

main()
