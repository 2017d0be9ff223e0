!> What can be set from outside: a namelist file, and `key=value` arguments after it that override it.
module parameters
   use kinds, only: dp
   use bit_flip, only: flip_type, variable_index
   implicit none
   private
   public :: parameters_type, read_parameters

   integer, parameter :: path_length = 1024

   type :: parameters_type
      !> Name of the run, as the daemon is told.
      character(64) :: name = 'simulation'
      !> Directory for images, checkpoints and the final state; made if its parent exists.
      character(path_length) :: directory = 'simulation.out'
      !> Number of the initial perturbation.
      integer :: seed = 1
      !> Zones along y; twice as many along x.
      integer :: ny = 128
      !> The run ends with this image; image 0 shows the initial state.
      integer :: n_steps = 120
      !> Simulation time between images.
      real(dp) :: interval = 0.0125_dp
      real(dp) :: cfl = 0.8_dp
      !> More time steps than this for one image means that the time step has collapsed.
      integer :: max_cycles = 4000
      !> Entropies of the first and the last colour.
      real(dp) :: entropy_low = -1.6_dp, entropy_high = 0.8_dp
      !> A checkpoint every so many images; so many are kept on disk.
      integer :: checkpoint_every = 5, checkpoints_kept = 4
      !> Go back to a checkpoint at least so many images before the alarm.
      integer :: rewind_margin = 3
      !> After so many rewinds for the same image it is accepted as it is.
      integer :: max_rewinds = 3
      !> Go on from this checkpoint; empty: start anew.
      character(path_length) :: restart = ''
      !> False: remove each image once it is judged and the next one is there.
      logical :: keep_images = .true.
      !> Longest wait for one verdict, milliseconds.
      integer :: timeout_ms = 10000
      !> The fault; `flip%planned` is false if there is none.
      type(flip_type) :: flip
      !> Draw the fault at random with this seed; 0: do not.
      integer :: flip_seed = 0
      integer :: flip_first = 40, flip_last = 110
   end type parameters_type

contains

   !> Reads `file` (none if empty), then the overrides. `message` is empty if all is well, else says what is wrong.
   subroutine read_parameters(file, overrides, p, message)
      character(*), intent(in) :: file
      !> Assignments in namelist form, such as "seed=3, name='twin'".
      character(*), intent(in) :: overrides
      type(parameters_type), intent(out) :: p
      character(:), allocatable, intent(out) :: message

      character(64) :: name, flip_variable
      character(path_length) :: directory, restart
      integer :: seed, ny, n_steps, max_cycles, checkpoint_every, checkpoints_kept, rewind_margin, max_rewinds, timeout_ms
      integer :: flip_step, flip_cycle, flip_i, flip_j, flip_bit, flip_seed, flip_first, flip_last
      real(dp) :: interval, cfl, entropy_low, entropy_high
      logical :: keep_images
      character(256) :: reason
      integer :: unit, stat
      namelist /simulation/ name, directory, restart, seed, ny, n_steps, interval, cfl, max_cycles, entropy_low, entropy_high, &
         & checkpoint_every, checkpoints_kept, rewind_margin, max_rewinds, keep_images, timeout_ms, flip_step, flip_cycle, flip_i, &
         & flip_j, flip_variable, flip_bit, flip_seed, flip_first, flip_last

      message = ''
      name = p%name; directory = p%directory; restart = p%restart; seed = p%seed; ny = p%ny; n_steps = p%n_steps
      interval = p%interval; cfl = p%cfl; max_cycles = p%max_cycles
      entropy_low = p%entropy_low; entropy_high = p%entropy_high
      checkpoint_every = p%checkpoint_every; checkpoints_kept = p%checkpoints_kept
      rewind_margin = p%rewind_margin; max_rewinds = p%max_rewinds
      keep_images = p%keep_images; timeout_ms = p%timeout_ms
      flip_step = 0; flip_cycle = p%flip%cycle; flip_i = p%flip%i; flip_j = p%flip%j
      flip_variable = 'energy'; flip_bit = p%flip%bit
      flip_seed = p%flip_seed; flip_first = p%flip_first; flip_last = p%flip_last

      if (len_trim(file) > 0) then
         open (newunit=unit, file=trim(file), status='old', action='read', iostat=stat, iomsg=reason)
         if (stat == 0) then
            read (unit, nml=simulation, iostat=stat, iomsg=reason)
            close (unit)
         end if
         if (stat /= 0) then
            message = trim(file)//': '//trim(reason)
            return
         end if
      end if
      if (len_trim(overrides) > 0) then
         block
            character(len_trim(overrides) + 32) :: text
            text = '&simulation '//trim(overrides)//' /'
            read (text, nml=simulation, iostat=stat, iomsg=reason)
         end block
         if (stat /= 0) then
            message = 'arguments '//trim(overrides)//': '//trim(reason)
            return
         end if
      end if

      p%name = name; p%directory = directory; p%restart = restart; p%seed = seed; p%ny = ny; p%n_steps = n_steps
      p%interval = interval; p%cfl = cfl; p%max_cycles = max_cycles
      p%entropy_low = entropy_low; p%entropy_high = entropy_high
      p%checkpoint_every = checkpoint_every; p%checkpoints_kept = checkpoints_kept
      p%rewind_margin = rewind_margin; p%max_rewinds = max_rewinds
      p%keep_images = keep_images; p%timeout_ms = timeout_ms
      p%flip%planned = flip_step > 0
      p%flip%step = flip_step; p%flip%cycle = flip_cycle; p%flip%i = flip_i; p%flip%j = flip_j
      p%flip%variable = variable_index(flip_variable); p%flip%bit = flip_bit
      p%flip_seed = flip_seed; p%flip_first = flip_first; p%flip_last = flip_last
      call check(p, message)
      if (p%flip%variable == 0) message = 'flip_variable is '//trim(flip_variable) &
         & //', wanted density, momentum_x, momentum_y or energy'
   end subroutine read_parameters

   subroutine check(p, message)
      type(parameters_type), intent(in) :: p
      character(:), allocatable, intent(inout) :: message

      if (len_trim(p%name) == 0) message = 'name is empty'
      if (len_trim(p%directory) == 0) message = 'directory is empty'
      if (p%ny < 8) message = 'ny must be at least 8'
      if (p%n_steps < 1) message = 'n_steps must be at least 1'
      if (.not. p%interval > 0.0_dp) message = 'interval must be positive'
      if (.not. (p%cfl > 0.0_dp .and. p%cfl <= 1.0_dp)) message = 'cfl must lie in (0, 1]'
      if (.not. p%entropy_low < p%entropy_high) message = 'entropy_low must be less than entropy_high'
      if (p%checkpoint_every < 1 .or. p%checkpoints_kept < 1) message = 'checkpoint_every and checkpoints_kept must be at least 1'
      if (p%rewind_margin < 1) message = 'rewind_margin must be at least 1: the image of the alarm itself is not to be kept'
      if (p%max_rewinds < 0) message = 'max_rewinds must not be negative'
      if (p%timeout_ms < 1) message = 'timeout_ms must be at least 1'
      if (p%flip%i < 1 .or. p%flip%i > 2*p%ny .or. p%flip%j < 1 .or. p%flip%j > p%ny) &
         & message = 'flip_i, flip_j lie outside the grid'
      if (p%flip%cycle < 1) message = 'flip_cycle must be at least 1'
      if (p%flip%bit < 0 .or. p%flip%bit > 63) message = 'bits are numbered 0 to 63'
      if (p%flip_first < 1 .or. p%flip_first > p%flip_last) message = 'wanted 1 <= flip_first <= flip_last'
   end subroutine check

end module parameters
